"""What a pass will take, told without allocating it."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode


def activation_bytes(module: nn.Module, input_shape: Sequence[int]) -> int | None:
    """Returns the bytes of everything that a forward pass of one image computes, which a backward pass needs again.

    Args:
        module: In evaluation mode; its weights are not read.
        input_shape: ``(channels, height, width)``.

    Returns:
        The sum over all operations, views not counted; nothing where what is done depends on values, or is not torch's.

    Cost:
        The time of the Python code of one forward pass; no memory to speak of.

    >>> activation_bytes(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()), (3, 64, 64)) == 2 * 8 * 64 * 64 * 4
    True
    """
    counter = _Sizes()
    return None if _faked(module, input_shape, counter) is None else counter.total


def output_shape(module: nn.Module, input_shape: Sequence[int]) -> tuple[int, ...] | None:
    """Returns the shape of what comes out for one image; nothing where it is no tensor, or depends on values.

    Args:
        module: In evaluation mode, a copy that nobody else uses: it may keep what it computed, which has no values.
        input_shape: ``(channels, height, width)``.

    Cost:
        As :func:`activation_bytes`.

    >>> output_shape(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (3, 2, 2))
    (1, 5)
    """
    output = _faked(module, input_shape, nullcontext())
    return tuple(output.shape) if isinstance(output, torch.Tensor) else None


def _faked(module: nn.Module, input_shape: Sequence[int], watched: AbstractContextManager[object]) -> object:
    """Returns what a module gives for one image without values; nothing where its code needs them."""
    first = next((tensor for tensor in module.parameters() if tensor.is_floating_point()), None)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), watched, torch.no_grad():
            image = torch.empty(1, *input_shape, dtype=None if first is None else first.dtype, device=_device(first))
            output: object = module(image)
    except Exception:  # noqa: BLE001 - the author's code meets tensors without values
        return None
    return output


def _device(tensor: torch.Tensor | None) -> torch.device:
    return torch.device("cpu") if tensor is None else tensor.device


class _Sizes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.total = 0
        self._started = False

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's signature
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Returns what an operation gives, and counts it unless it is a view or the input itself."""
        result = func(*args, **(kwargs or {}))
        # What is written in place counts as well: the graph that is explained writes nothing in place.
        if not func.is_view and self._started:
            found = result if isinstance(result, tuple | list) else (result,)
            self.total += sum(one.nbytes for one in found if isinstance(one, torch.Tensor))
        self._started = True
        return result
