"""Copies of a network with weights drawn anew, as if it had learnt nothing."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn

from attribution.errors import InvalidOption, NetworkError
from attribution.networks.copies import shared_copy
from attribution.networks.network import Network
from attribution.networks.norms import StoredStatistics
from attribution.networks.outputs_only import OutputsOnly


class Redrawn(NamedTuple):
    """A network that has not learnt some of its layers.

    Attributes:
        network: It; layers that were not drawn share their weights with the original.
        as_normal: Parameters of layers that do not say how they begin.
    """

    network: Network
    as_normal: tuple[str, ...]


def weighted_layers(network: Network, inputs: torch.Tensor) -> tuple[str, ...]:
    """Returns the paths of the modules with weights of their own, from the output to the input; '' is the network.

    In the order of their first call, backwards; one that is never called itself stands where the module around it is.

    Args:
        network: Whose.
        inputs: Normalised images, float ``(batch, channels, height, width)``, of which the first is run.

    Raises:
        NetworkError: There are no weights to draw.

    Cost:
        One forward pass of one image.

    >>> module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    >>> weighted_layers(Network(module), torch.zeros(1, 1, 4, 4))
    ('3', '0')
    """
    if isinstance(network.module, OutputsOnly):
        raise NetworkError(f"no weights that could be drawn anew: {network.module.why}")
    module = shared_copy(network.module)
    paths = {part: path for path, part in module.named_modules()}
    own = [path for part, path in paths.items() if any(_weights(part))]
    if not own:
        raise NetworkError(f"no weights that could be drawn anew: {type(module).__name__} has no parameters")
    called: dict[str, int] = {"": 0}

    def note(part: nn.Module, _: object) -> None:
        called.setdefault(paths[part], len(called))

    hooks = [part.register_forward_pre_hook(note) for part in paths]
    with torch.no_grad(), StoredStatistics():
        module(inputs[:1].clone())
    for hook in hooks:
        hook.remove()
    places = {path: (_called(path, called), number) for number, path in enumerate(paths.values())}
    return tuple(sorted(own, key=lambda path: places[path], reverse=True))


def redrawn(network: Network, layers: Sequence[str], generator: torch.Generator) -> Redrawn:
    """Returns a copy of a network in which some layers have not learnt anything.

    Each layer is drawn by its own ``reset_parameters``, which also puts the statistics of a batch normalisation back
    to where training begins; parameters of a layer without it are drawn from a normal distribution around 0 with the
    root mean square of their values. On the CPU, so that a seed means the same on every device. The caller's network
    and its module stay as they are, and so does the global randomness.

    Args:
        network: Of which a copy is made.
        layers: Paths of :func:`weighted_layers`, drawn in this order: of one seed, more layers begin with the same.
        generator: Gives the seed.

    Raises:
        NetworkError: It cannot be copied.
        InvalidOption: A layer that it does not have.

    Cost:
        A trace and some 10 forward passes of one image; memory for the layers that are drawn.

    >>> network = Network(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 2, 2))
    >>> other = redrawn(network, ["1"], torch.Generator().manual_seed(0)).network
    >>> bool((network.module[1].weight == other.module[1].weight).any())
    False
    """  # noqa: DOC502 - the copy that it makes raises it
    module = shared_copy(network.module)
    parts = dict(module.named_modules())
    if unknown := [path for path in layers if path not in parts]:
        raise InvalidOption(f"layers names {unknown[0]!r}, which the network does not have; take weighted_layers()")
    _own_weights(module, [parts[path] for path in layers])
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        as_normal = [f"{path}.{name}".lstrip(".") for path in layers for name in _draw(parts[path])]
    module.to(network.device)
    other = Network(module, network.input_shape, network.output, network.link, network.report().checks)
    return Redrawn(other, tuple(as_normal))


def _weights(part: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, one) for name, one in part.named_parameters(recurse=False) if one.is_floating_point())


def _own_weights(module: nn.Module, parts: Sequence[nn.Module]) -> None:
    """Gives some parts of a copy weights of their own, on the CPU, in all places where they are used.

    New parameters, for those of a copy count changes of their values together with the original's.
    """
    own = {
        id(one): nn.Parameter(one.detach().to("cpu", copy=True), requires_grad=False)
        for part in parts
        for _, one in _weights(part)
    }
    for part in module.modules():
        for name, one in list(part.named_parameters(recurse=False, remove_duplicate=False)):
            if id(one) in own:
                setattr(part, name, own[id(one)])


def _called(path: str, called: dict[str, int]) -> int:
    """Returns when a module was first called, or that around it."""
    while path not in called:
        path = path.rpartition(".")[0]
    return called[path]


def _draw(part: nn.Module) -> list[str]:
    """Draws the weights of one module.

    Returns:
        Those that it does not say how to begin.
    """
    reset = getattr(part, "reset_parameters", None)
    if callable(reset):
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, buffer.to("cpu"))
        reset()
        return []
    names = []
    for name, one in _weights(part):
        one.copy_(torch.randn(one.shape, dtype=one.dtype) * one.square().mean().sqrt())
        names.append(name)
    return names
