"""A right and a wrong decision of two classifiers, by four methods; the wrong one against the true class as well."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.stories.asking import Asked, explanation, told
from support.stories.exhibits import Exhibit, Picture, emotions, imagenet

from attribution_contracts.results import CellResult, ImageResult

METHODS = ("integrated_gradients", "cam", "occlusion", "segment_shapley")
EXHIBITS: dict[str, Callable[[Path], Exhibit]] = {"imagenet": imagenet, "emotions": emotions}
SEGMENTS: dict[str, Any] = {"segment_shapley": {"segments": {"kind": "slic", "n_segments": 24}}}


def decisions(asked: Asked, data: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """For each classifier how often it is right here, then a line for each method and target."""
    for name, of in EXHIBITS.items():
        try:
            exhibit = of(data)
        except FileNotFoundError as error:
            yield {"exhibit": name, "skipped": f"no weights or photographs: {error}"}
            continue
        asked.register(exhibit)
        undrawn = {"explanation": {"method": "input_x_gradient"}, "render": {"overlay": "none"}}
        result, seconds = asked.explained(exhibit, "predictions", **undrawn)
        pairs = list(zip(exhibit.pictures, result.images, strict=True))
        right, wrong = ([pair for pair in pairs if _is_right(*pair) is way] for way in (True, False))
        yield {"exhibit": name, "right": len(right), "of": len(pairs), "seconds": seconds}
        for kind, found in {"right": right, "wrong": wrong}.items():
            # The surest one: what a person would ask about first.
            picture, _ = max(found, key=lambda pair: pair[1].prediction[0].probability)
            for against in (None, "label") if kind == "wrong" else (None,):
                yield from _told(asked, exhibit._replace(pictures=[picture]), kind, against, folder)


def _told(asked: Asked, exhibit: Exhibit, kind: str, against: str | None, folder: Path) -> Iterator[dict[str, Any]]:
    target = {} if against is None else {"target": {"against": against}}
    explanations = [explanation(name, exhibit, **SEGMENTS.get(name, {}), **target) for name in METHODS]
    way = kind if against is None else f"{kind}-against-{against}"
    result, seconds = asked.explained(exhibit, way, explanations=explanations)
    for file in result.artifacts:
        if file.quantity.endswith("side-by-side"):
            path = asked.save(file, folder / f"{exhibit.name}-{way}.png")
            yield {"exhibit": exhibit.name, "decision": way, "file": path, "seconds": seconds}
    for cell in result.cells:
        yield {"exhibit": exhibit.name, "decision": way, "method": cell.method} | _cell(exhibit.pictures[0], cell)


def _cell(picture: Picture, cell: CellResult) -> dict[str, Any]:
    if cell.error is not None:
        return {"picture": picture.name, "failed": cell.error.detail}
    return {"picture": picture.name, **told(cell.images[0])}


def _is_right(picture: Picture, image: ImageResult) -> bool:
    return image.prediction[0].name == picture.label
