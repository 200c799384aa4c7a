"""Pictures that a layer cannot tell from an image: beside it on a sheet, with the error of each."""

from attribution_contracts.figures.inversion import InvertedImage
from workers.drawing.explained import ExplainedImage
from workers.drawing.files import Drawn, Subject
from workers.drawing.rendering import pixels
from workers.drawing.sheets import Tile, sheet
from workers.drawing.words import percent

_ACROSS = 4
_SIDE = 200


def keep_inversions(drawn: Drawn, image: ExplainedImage) -> None:
    """Stores the sheet of an image and its pictures."""
    found: InvertedImage = image.figures.wire["inversion"]
    made = [item.values for item in image.maps if item.field == "inversion"]
    tiles = [Tile("the image", image.picture)]
    for number, (values, start) in enumerate(zip(made, found.starts, strict=True)):
        tiles.append(Tile(f"start {number}: error {percent(start.relative_error, 2)}", pixels(values)))
    rows = [tiles[start : start + _ACROSS] for start in range(0, len(tiles), _ACROSS)]
    title = f"{image.name}: what {found.layer} cannot tell from it"
    drawn.keep(Subject(image.position, layer=found.layer), sheet("inversions", rows, side=_SIDE, title=title))
