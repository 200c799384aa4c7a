"""How the maps of one image that a job makes stand to each other."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from attribution_contracts.base import Wire
from attribution_contracts.identity import ModelIdentity


class Standing(Wire):
    """One map among those of the same image and model: the first of its explanation."""

    explanation: int
    """Position among the explanations of the request."""
    method: str
    quantity: str
    layer: str | None = None
    figures: dict[str, float] = {}
    """What was measured of it, by figure: see `quality`."""
    ranks: dict[str, int] = {}
    """Its place by each figure, 1 for the best; maps that share a value share the better place."""


class MapStandings(Wire):
    """The maps of one image by one model: no figure is an overall grade, and they disagree."""

    image: int
    """Position in the request."""
    model: ModelIdentity
    maps: list[Standing]
    agreement: list[list[float | None]]
    """Rank correlation of what each two maps say of a grid of patches, in the order of `maps`; null where one is
    flat."""
    grid: tuple[int, int]
    """Patches down and across."""

    def sentences(self, names: Sequence[str]) -> Iterator[str]:
        """How far the maps agree, and which is first by each figure; explanations are called by their captions."""
        called = [names[one.explanation] for one in self.maps]
        pairs = [
            (value, one, other)
            for one, other in combinations(range(len(self.maps)), 2)
            if (value := self.agreement[one][other]) is not None
        ]
        if pairs:
            least, most = min(pairs), max(pairs)
            told = f"{_number(most[0])} ({called[most[1]]} and {called[most[2]]})"
            if len(pairs) > 1:
                told = f"{_number(least[0])} ({called[least[1]]} and {called[least[2]]}) to {told}"
            rows, columns = self.grid
            yield f"the maps agree on which of {rows} x {columns} patches count, by rank correlation, to {told}"
        first = {
            figure: [name for name, one in zip(called, self.maps, strict=True) if one.ranks.get(figure) == 1]
            for figure in dict.fromkeys(figure for one in self.maps for figure in one.ranks)
        }
        if first:
            yield "first by " + "; ".join(f"{figure}: {' and '.join(own)}" for figure, own in first.items())


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
