"""From the outputs of a pass by rules back to the image and to layers, whole or through chosen channels alone."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch

from attribution.errors import InvalidOption
from attribution.networks.network import Network
from attribution.networks.selection import known_layers
from attribution.targets import Targets


class Concept(NamedTuple):
    """Channels of a layer through which alone a share may reach the image: what, and not only where."""

    layer: str
    channels: Sequence[int]


class Started(NamedTuple):
    """A pass by rules that has run forward.

    Attributes:
        outputs: Logits ``(n, classes)``, which lead back to all that follows.
        explained: What of them is handed back, ``(n, k)``.
        points: ``(n, *features)``.
        factor: What the multipliers of the points are multiplied by, like ``points``.
        values: Of layers on the way, ``(n, *shape)``.
        factors: What the multipliers of layers are multiplied by.
        absorbed: Zeros ``(n, ways)``, whose gradients are what is lost on the way; nothing where nothing is.
    """

    outputs: torch.Tensor
    explained: torch.Tensor
    points: torch.Tensor
    factor: torch.Tensor
    values: Mapping[str, torch.Tensor]
    factors: Mapping[str, torch.Tensor]
    absorbed: torch.Tensor | None = None


class Shares(NamedTuple):
    """What reaches the image and layers, in units of the output.

    Attributes:
        inputs: ``(n, k, *features)``.
        explained: What is handed back, ``(n, k)`` float64: of the outputs, or of the concept.
        absorbed: ``(n, k, ways)``, float64.
        maps: By layer with places, ``(n, k, height, width)``, over all channels.
        scores: By layer, ``(n, k, channels)``, over all places.
    """

    inputs: torch.Tensor
    explained: torch.Tensor
    absorbed: torch.Tensor
    maps: dict[str, torch.Tensor]
    scores: dict[str, torch.Tensor]

    @property
    def missing(self) -> torch.Tensor:
        """Sum over the image and all that is absorbed, minus what is handed back, ``(n, k)``."""
        return self.inputs.double().flatten(2).sum(2) + self.absorbed.sum(2) - self.explained


def require_concept(network: Network, concept: Concept | None) -> Concept | None:
    """Returns a concept whose layer and channels the network has.

    Raises:
        InvalidOption: It has not.
    """
    if concept is None:
        return None
    layer = known_layers(network).get(concept.layer)
    if layer is None:
        raise InvalidOption(f"concept.layer is {concept.layer!r}, which is no layer's name here: see network.layers")
    channels = sorted(set(concept.channels))
    count = None if layer.shape is None else layer.shape[0]
    if not channels or channels[0] < 0 or (count is not None and channels[-1] >= count):
        raise InvalidOption(
            f"concept.channels is {list(concept.channels)}, expected some of the channels 0 to"
            f" {'?' if count is None else count - 1} of layer {concept.layer!r}"
        )
    return Concept(concept.layer, channels)


def handed_back(run: Started, targets: Targets, concept: Concept | None, mapped: Collection[str]) -> Shares:
    """Hands back what is explained, one number after another.

    Args:
        run: The pass.
        targets: Of its rows.
        concept: The channels through which alone shares go on; layers behind it have none.
        mapped: Layers that have places.

    Returns:
        What reaches the image and the layers.

    Cost:
        k backward passes; with a concept those behind it twice.
    """
    numbers = targets.of(run.outputs)
    own = [run.points, *([] if run.absorbed is None else [run.absorbed])]
    ends = own + list(run.values.values())
    inputs, explained, absorbed = [], [], []
    maps: dict[str, list[torch.Tensor]] = {}
    scores: dict[str, list[torch.Tensor]] = {}
    for number in range(targets.k):
        source, start, total = _source(run, numbers[:, number], number, concept)
        is_last = number == targets.k - 1
        found = torch.autograd.grad(source, ends, start, retain_graph=not is_last, allow_unused=True)
        inputs.append(_product(run.factor, found[0]))
        explained.append(total.double())
        lost = run.points.new_zeros(len(run.points), 1) if run.absorbed is None else found[1]
        absorbed.append(torch.zeros_like(explained[0]).unsqueeze(1) if lost is None else lost.double())
        for name, multipliers in zip(run.values, found[len(own) :], strict=True):
            if multipliers is not None:
                share = _product(run.factors[name], multipliers)
                scores.setdefault(name, []).append(share.reshape(*share.shape[:2], -1).sum(2))
                if name in mapped:
                    maps.setdefault(name, []).append(share.sum(1))
    return Shares(
        torch.stack(inputs, 1),
        torch.stack(explained, 1),
        torch.stack(absorbed, 1),
        {name: torch.stack(parts, 1) for name, parts in maps.items()},
        {name: torch.stack(parts, 1) for name, parts in scores.items()},
    )


def joined(parts: Sequence[Shares]) -> Shares:
    """Returns the shares of chunks as those of all their rows."""
    first = parts[0]
    return Shares(
        torch.cat([part.inputs for part in parts]),
        torch.cat([part.explained for part in parts]),
        torch.cat([part.absorbed for part in parts]),
        {name: torch.cat([part.maps[name] for part in parts]) for name in first.maps},
        {name: torch.cat([part.scores[name] for part in parts]) for name in first.scores},
    )


def _source(
    run: Started, outputs: torch.Tensor, number: int, concept: Concept | None
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Returns what is handed back from, with which multipliers, and how much it is ``(n,)``."""
    # Rows do not meet in evaluation mode, so the gradient of the sum holds each row's own.
    if concept is None:
        return outputs.sum(), None, run.explained[:, number]
    value = run.values[concept.layer]
    (multipliers,) = torch.autograd.grad(outputs.sum(), value, retain_graph=True, materialize_grads=True)
    chosen = torch.zeros_like(multipliers)
    chosen[:, list(concept.channels)] = multipliers[:, list(concept.channels)]
    return value, chosen, _product(run.factors[concept.layer], chosen).double().flatten(1).sum(1)


def _product(factor: torch.Tensor, multipliers: torch.Tensor | None) -> torch.Tensor:
    wide = torch.promote_types(factor.dtype, torch.float32)
    return torch.zeros_like(factor, dtype=wide) if multipliers is None else factor.to(wide) * multipliers.to(wide)
