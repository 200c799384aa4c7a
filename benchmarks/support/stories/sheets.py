"""For each method a sheet: a row a picture, with the image as the network saw it and the maps of its class."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.stories.asking import Asked, explanation, told
from support.stories.exhibits import Exhibit, Picture, owned, photographs

from attribution_client import JobFailed
from attribution_client.errors import ProblemError
from attribution_contracts.methods import METHODS
from attribution_contracts.results import ArtifactRef, ImageResult
from workers.drawing.files import map_within
from workers.drawing.sheets import Tile, sheet
from workers.drawing.words import number, percent

PICTURES, ACROSS = 4, 7
"""Of each exhibit; tiles of a row."""
MORE: dict[str, dict[str, Any]] = {
    "cam": {"variants": ["grad_cam", "hires_cam", "layer_cam"]},
    "attention": {"variants": ["rollout", "legrad"]},
    "rise": {"n_masks": 400},
    "segment_shapley": {"n_samples": 400},
}
"""What is asked for beside the defaults: more to see, and less of what takes long."""


def sheets(asked: Asked, data: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """One line a sheet, or why there is none."""
    for exhibit in owned(folder, PICTURES):
        yield from _of_exhibit(asked, exhibit, folder)
    try:
        of_photographs = list(photographs(data))
    except (FileNotFoundError, ImportError) as error:
        yield {"exhibit": "photographs", "skipped": f"no weights or photographs: {error}"}
        return
    for exhibit in of_photographs:
        yield from _of_exhibit(asked, exhibit, folder)


def _of_exhibit(asked: Asked, exhibit: Exhibit, folder: Path) -> Iterator[dict[str, Any]]:
    if asked.exhibits and exhibit.name not in asked.exhibits:
        return
    report, mine, together = asked.register(exhibit), folder / exhibit.name, list[Tile]()
    for method in asked.methods or sorted(name for name, one in METHODS.items() if one.takes == "images"):
        line = {"exhibit": exhibit.name, "method": method}
        applies = report.methods.get(method)
        if applies is None or not applies.applies:
            yield {**line, "skipped": "it explains no image by itself" if applies is None else applies.reason}
            continue
        try:
            rows, figures = _sheet(asked, exhibit, method, mine / f"{method}.png")
        except (JobFailed, ProblemError) as error:
            yield {**line, "failed": str(error)}
            continue
        yield line | figures
        own, *maps = rows[-1]
        together += [] if together else [own]
        together += [maps[0]._replace(caption=f"{method}\n{maps[0].caption}")] if maps else []
    if together:
        rows = [together[first : first + ACROSS] for first in range(0, len(together), ACROSS)]
        path = _written(mine / "every-method.png", rows, f"every method: {exhibit.name}")
        yield {"exhibit": exhibit.name, "file": path}


def _sheet(asked: Asked, exhibit: Exhibit, method: str, path: Path) -> tuple[list[list[Tile]], dict[str, Any]]:
    more = MORE.get(method, {})
    if "fit" in METHODS[method].model_fields:
        more = {"fit": asked.fit(exhibit)}
    result, seconds = asked.explained(
        exhibit, method, explanation=explanation(method, exhibit, **more), render={"overlay": "color", "scale": "image"}
    )
    pairs = list(zip(exhibit.pictures, result.images, strict=True))
    rows = [_row(asked, picture, image) for picture, image in pairs]
    warnings = dict.fromkeys(warning.detail for image in result.images for warning in image.warnings)
    file = _written(path, rows, f"{method}: {exhibit.name}", *warnings)
    return rows, {"file": file, "seconds": seconds, "images": {picture.name: told(image) for picture, image in pairs}}


def _written(path: Path, rows: list[list[Tile]], title: str, *warnings: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sheet(path.stem, rows, title=title, warnings=warnings).content)
    return str(path)


def _row(asked: Asked, picture: Picture, image: ImageResult) -> list[Tile]:
    """The image, each map, and over the image the first quantity of the last layer, or of the image itself."""
    best = image.prediction[0]
    maps = [file for file in image.artifacts if file.of is not None and file.quantity == "heatmap"]
    laid = [file for file in image.artifacts if maps and file.of == maps[0].of and file.quantity == "overlay"]
    [seen] = [file for file in image.artifacts if file.quantity == "input"]
    own = Tile(f"{picture.name}\n{best.name} ({percent(best.probability, 0)})", asked.picture(seen))
    charts = [file for file in image.artifacts if file.of is None and file.media_type == "image/png" and file != seen]
    # Of a method with many layers the last ones, where units stand for things; charts where nothing has a place.
    return [own, *(_tile(asked, file) for file in [*maps[-(ACROSS - 2) :], *laid[-1:]] or charts)]


def _tile(asked: Asked, file: ArtifactRef) -> Tile:
    where = "" if file.layer is None else f" at {file.layer}"
    ends = "" if file.range is None else f"\n{number(file.range[0])} to {number(file.range[1])}"
    said = f"{file.of or file.quantity}{where}" + (", laid over" if file.quantity == "overlay" else "")
    return Tile(said + ends, map_within(file, asked.client.artifact(file)))
