"""The layers whose shares a method by rules returns beside its map, and those that it needs on the way."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from attribution.errors import InvalidOption
from attribution.layerwise.places import LAST, has_places, mapped_layers
from attribution.networks.layers import Layer
from attribution.networks.network import Network
from attribution.networks.selection import known_layers, selected_layers
from attribution.propagation.shares import Concept

T = TypeVar("T")


class Chosen(NamedTuple):
    """``wanted`` layers by name, in forward order; those ``kept`` on the way; those with places, ``mapped``."""

    wanted: dict[str, Layer]
    kept: dict[str, Layer]
    mapped: frozenset[str]

    def of(self, found: Mapping[str, T]) -> dict[str, T]:
        """Returns what was found of the wanted layers, in forward order."""
        return {name: found[name] for name in self.wanted if name in found}


def chosen_layers(network: Network, layers: str | Sequence[str] | None, concept: Concept | None) -> Chosen:
    """Returns the layers of a choice, none unless told, and that of a concept.

    Raises:
        InvalidOption: A choice that matches nothing, or all of it lies behind the concept.
    """
    if layers is None:
        wanted = {}
    else:
        wanted = mapped_layers(network, layers) if layers == LAST else selected_layers(network, layers)
    kept = dict(wanted)
    if concept is not None:
        known = known_layers(network)
        kept[concept.layer] = known[concept.layer]
        order = list(known)
        if wanted and all(order.index(name) > order.index(concept.layer) for name in wanted):
            raise InvalidOption(
                f"layers {', '.join(wanted)} lie behind {concept.layer!r}, the concept's layer, from which shares are"
                " handed back: choose layers in front of it"
            )
    return Chosen(wanted, kept, frozenset(name for name, layer in wanted.items() if has_places(network, layer)))
