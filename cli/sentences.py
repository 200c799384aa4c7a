"""What figures of an image say, in words."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attribution_contracts.results import ImageResult, Result

_NAMED = {"occlusion": "occlusion curves", "deletions": "single deletions", "localization": "localisation"}
"""What figures are called where their field says less."""


def sentences(image: "ImageResult") -> Iterator[str]:
    """What segments and regions add, what hiding parts does, what single patches do, and where maps lie."""
    for segments in image.segments:
        yield segments.sentence(class_name(image, segments.target))
    for regions in image.regions:
        yield regions.sentence(class_name(image, regions.target))
    if image.inversion is not None:
        yield image.inversion.sentence
    if image.hidden_parts is not None:
        for number in image.hidden_parts.numbers:
            own = "" if number.target is None else class_name(image, number.target)
            yield number.sentence(own, image.hidden_parts.fill)
        for rise in image.hidden_parts.rises:
            yield rise.sentence(image.hidden_parts.fill)
    yield from _of_quality(image)


def _of_quality(image: "ImageResult") -> Iterator[str]:
    for judged in image.judged:
        yield judged.sentence(class_name(image, judged.target))
    if image.localization_missing is not None:
        yield f"where its maps lie is not told: {image.localization_missing}"


def missing(result: "Result") -> Iterator[str]:
    """Why figures that were asked for are not there."""
    for quality in [result.quality, *(cell.quality for cell in result.cells)]:
        for figure, reason in ({} if quality is None else quality.missing).items():
            yield f"no {_NAMED.get(figure, figure)}: {reason}"


def class_name(image: "ImageResult", index: int) -> str:
    """What is said to be explained of a class."""
    said = [target.said for target in image.targets if target.index == index]
    known = [score.name for score in image.prediction if score.index == index and score.name]
    return next(iter([*said, *known]), str(index))
