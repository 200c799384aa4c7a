"""Random numbers a row at a time."""

from collections.abc import Callable, Sequence

import torch

from attribution.errors import InvalidInput

#: One generator for the whole batch, or one for each row.
Generators = torch.Generator | Sequence[torch.Generator]


def row_noise(draw: Callable[..., torch.Tensor], inputs: torch.Tensor, generator: Generators) -> torch.Tensor:
    """Returns noise of the shape of ``inputs`` from ``torch.rand`` or ``torch.randn``.

    With one generator for each row, a row's numbers do not depend on the rest of the batch. Numbers are drawn on the
    generator's device in float32 at least, so that one seed means the same on every device.

    Raises:
        InvalidInput: There are not as many generators as rows.

    >>> row_noise(torch.rand, torch.zeros(2, 1), [torch.Generator().manual_seed(0) for _ in range(2)]).unique().numel()
    1
    """
    if isinstance(generator, torch.Generator):
        return _drawn(draw, inputs, generator)
    if len(generator) != inputs.shape[0]:
        raise InvalidInput(f"{len(generator)} generators for {inputs.shape[0]} images, expected one for each or one")
    return torch.stack([_drawn(draw, row, own) for row, own in zip(inputs, generator, strict=True)])


def image_generators(generator: Generators | None, batch: int) -> list[torch.Generator]:
    """Returns one generator an image; those of seed 0 unless told, so that an image never depends on its batch.

    Raises:
        InvalidInput: There are not as many generators as images.
    """
    if generator is None:
        return [torch.Generator().manual_seed(0) for _ in range(batch)]
    if isinstance(generator, torch.Generator):
        return [generator] * batch
    if len(generator) != batch:
        raise InvalidInput(f"{len(generator)} generators for {batch} images, expected one for each or one")
    return list(generator)


def _drawn(draw: Callable[..., torch.Tensor], like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    wide = torch.promote_types(like.dtype, torch.float32)
    return draw(like.shape, generator=generator, dtype=wide, device=generator.device).to(like)
