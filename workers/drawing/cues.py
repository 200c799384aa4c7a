"""What is left of images with one cue alone, and how much of the accuracy each cue carries."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attribution_contracts.tasks.part_shape_texture import PartShapeTextureReport
from workers.drawing.charts import figure_of, png
from workers.drawing.rendering import RenderedFile
from workers.drawing.sheets import Tile, sheet

_SIDE = 128


class Example(NamedTuple):
    """One image, and what is left of it."""

    captions: Sequence[str]
    pictures: Sequence[NDArray[np.float32]]
    """Each `(channels, height, width)` from 0 to 1."""


def cue_sheet(examples: Sequence[Example], title: str) -> RenderedFile:
    """A row an image: itself, and with each cue alone."""
    rows = [
        [Tile(caption, _picture(values)) for caption, values in zip(example.captions, example.pictures, strict=True)]
        for example in examples
    ]
    return sheet("cues", rows, side=_SIDE, title=title)


def carried_chart(report: PartShapeTextureReport) -> RenderedFile:
    """What each cue carries, with its standard error."""
    figure = figure_of(6.6, 1.4 + 0.42 * len(report.cues), "How much of the accuracy each cue carries")
    panel = figure.subplots()
    places = range(len(report.cues))
    shares = [100 * (one.carried or 0.0) for one in report.cues]
    errors = [100 * (one.carried_error or 0.0) for one in report.cues]
    panel.barh(places, shares, xerr=errors, color="#8fb0d3", ecolor="#444444", capsize=3)
    panel.set_yticks(places, [one.cue for one in report.cues])
    panel.set_ylim(len(report.cues) - 0.4, -0.6)
    panel.axvline(100, color="#777777", linestyle="--", linewidth=1.0)
    panel.axvline(0, color="#222222", linewidth=0.8)
    panel.set_xlabel(
        f"% of what the accuracy of {report.images:,} images, {100 * report.accuracy:.1f} %, has above chance\n"
        "(bars: standard error)",
        fontsize=9,
    )
    panel.spines[["top", "right"]].set_visible(False)
    return png("carried", figure)


def _picture(values: NDArray[np.float32]) -> Image.Image:
    pixels = np.rint(255 * values).astype(np.uint8)
    return Image.fromarray(pixels[0]) if len(pixels) == 1 else Image.fromarray(pixels.transpose(1, 2, 0))
