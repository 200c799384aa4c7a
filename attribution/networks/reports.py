"""What is said of a network before anything is explained."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import fx

from attribution.networks.copies import FrozenCopy
from attribution.networks.heads import LinearHead
from attribution.networks.layers import Layer
from attribution.networks.link import Link
from attribution.networks.measures import Check
from attribution.networks.outputs_only import OutputsOnly


class HeadSize(NamedTuple):
    """The last linear layer, where the network's output is made of its scores one by one."""

    name: str
    in_features: int
    out_features: int


class Report(NamedTuple):
    """The pre-flight check of a network.

    ``traced`` says whether there is a graph, ``reason`` why not. ``in_place``, ``reused`` and ``functional`` name the
    in-place operations that were rewritten, the layers called more than once, and the activations that are functions
    instead of modules. ``link`` is how outputs become probabilities, and ``checks`` what was measured; both are empty
    before the network has run.
    """

    traced: bool
    reason: str | None
    in_place: tuple[str, ...]
    reused: tuple[str, ...]
    functional: tuple[str, ...]
    linear_head: HeadSize | None
    n_classes: int | None
    layers: tuple[Layer, ...]
    link: Link | None
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]


def reused_modules(layers: Mapping[fx.Node, Layer]) -> tuple[str, ...]:
    """Returns paths of modules that are called more than once."""
    calls = Counter(str(node.target) for node in layers if node.op == "call_module")
    return tuple(path for path, count in calls.items() if count > 1)


def functional_activations(layers: Mapping[fx.Node, Layer]) -> tuple[str, ...]:
    """Returns names of activations that are called as functions or tensor methods."""
    return tuple(
        layer.name for node, layer in layers.items() if layer.kind == "activation" and node.op != "call_module"
    )


def head_size(head: LinearHead | None, layers: Mapping[fx.Node, Layer]) -> HeadSize | None:
    """Returns what is said of the last linear layer."""
    if head is None:
        return None
    out_features, in_features = head.scores.weight.shape
    return HeadSize(layers[head.scores.node].name, in_features, out_features)


def warnings_of(copied: FrozenCopy, checks: Sequence[Check], reason: str | None) -> tuple[str, ...]:
    """Returns what a user should know before reading explanations of this network."""
    noted = [f"{check.name}: {check.detail}" for check in checks if check.verdict in ("noted", "refused")]
    if isinstance(copied.module, OutputsOnly):
        others = [warning for warning in noted if not warning.endswith(copied.module.why)]
        return (f"{copied.module.why}; only methods that need neither apply", *others)
    found = []
    if reason is not None:
        found.append(f"not traced ({reason}): layers are unknown, only methods that need no graph apply")
    if copied.kept:
        found.append(f"hooks change values, or might, and are part of the explained network: {_some(copied.kept)}")
    if copied.dropped:
        found.append(f"hooks that change nothing were left behind: {_some(copied.dropped)}")
    if copied.baked:
        found.append(f"weights that are computed are explained as computed now: {_some(copied.baked)}")
    return (*found, *noted)


def _some(names: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
