"""What figures of maps have in common: which map is judged, and how several are told in a sentence."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from attribution_contracts.base import Wire
from attribution_contracts.hints import in_words

_NAMED = 3
"""Maps that a sentence names; of more it names the best and the worst."""
_CALLED = {"input_x_gradient": "input x gradient", "centre": "the centre of the image"}


class MapScore(Wire):
    """How one map fares, or several of a kind on average."""

    judged: str
    """What is judged: a map of the result, or what it is to be compared with."""
    quantity: str | None = None
    """Of a map: which."""
    layer: str | None = None
    """Of a map of a layer: which."""
    maps: int = 1
    """How many maps the figures are the means of: several of `random`, one otherwise."""

    @property
    def name(self) -> str:
        """The map in words."""
        return f"{self.quantity}{'' if self.layer is None else f' of layer {self.layer}'}"

    @property
    def called(self) -> str:
        """What the map is compared with, in words."""
        return _CALLED.get(self.judged, f"{self.maps} random maps")


class _Said(Protocol):
    """A score that has its figures in words."""

    @property
    def judged(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def called(self) -> str: ...
    @property
    def said(self) -> str: ...


ScoreT = TypeVar("ScoreT", bound=_Said)


def maps_said(scores: Sequence[ScoreT], value: Callable[[ScoreT], float | None]) -> str:
    """The figures of the maps of a result, in words; of many those of the best and the worst by one of the figures."""
    if len(scores) == 1:
        return scores[0].said
    if len(scores) <= _NAMED:
        return in_words([f"{score.name} {score.said}" for score in scores])
    ordered = sorted(scores, key=lambda score: -2.0 if (found := value(score)) is None else found)
    worst, best = ordered[0], ordered[-1]
    return f"{best.name} {best.said}, the best of {len(ordered)} maps, to {worst.name} {worst.said}"


def beside_said(scores: Sequence[_Said]) -> str:
    """The figures of what the maps are compared with, in words; empty where there is nothing."""
    beside = [f"{score.called} {score.said}" for score in scores if score.judged != "map"]
    return "" if not beside else f"; {in_words(beside)}"


def number(value: float | None, spread: float | None) -> str:
    """A figure with the standard deviation between the maps that it is the mean of, where there are several."""
    if value is None:
        return "undefined"
    signed = f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
    return signed if spread is None else f"{signed} ± {spread:.2f}"
