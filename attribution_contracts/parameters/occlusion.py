"""Parameters of occlusion."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from attribution_contracts.base import Wire, form_of
from attribution_contracts.baselines import Baseline, ZeroBaseline
from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.parameters.layers import LayerChoice
from attribution_contracts.targets import ExplainedOutput, Target

MAX_WINDOWS = 65_536
"""Over one image; the engine takes no more."""
_PARTS = 7
"""Of a side of the image: the window that is taken unless told."""
_WHOLE_PASSES = 3
"""Of each image beside its windows: one that is kept, and what boxes are held against."""

_Side = Annotated[int, Field(ge=1, le=4096, strict=True)]
_Place = Annotated[int, Field(ge=0, lt=1_000_000, strict=True)]


def _form_of_sides(value: object) -> str | None:
    if isinstance(value, bool):
        return None
    return "list" if isinstance(value, list) else "side" if isinstance(value, int) else None


Sides = Annotated[
    Annotated[_Side, Tag("side")] | Annotated[list[_Side], Field(min_length=2, max_length=2), Tag("list")],
    Discriminator(
        _form_of_sides,
        custom_error_type="form",
        custom_error_message="expected a whole number of pixels, or two of them, down and across, such as [8, 8]",
    ),
]
"""Pixels of the image as the network sees it: one number, or down and across."""


class MapPlace(Wire):
    """One place of a feature map."""

    row: _Place
    """From the top, from 0."""
    column: _Place
    """From the left, from 0."""


Summary = Annotated[
    Annotated[Literal["mean", "max"], Tag("word")] | Annotated[MapPlace, Tag("MapPlace")],
    form_of(
        ("mean", "max"),
        dict.fromkeys(MapPlace.model_fields, MapPlace),
        'expected "mean", "max", or an object with row and column',
    ),
]


class ChosenFeatureMap(Wire):
    """One channel of a layer, as the number that is followed."""

    layer: LayerChoice
    """By name."""
    channel: _Place
    """Its number in the layer, from 0."""
    summary: Summary = "mean"
    """What of the feature map is followed: its mean, its maximum, or its value at one place."""

    @property
    def said(self) -> str:
        """Which channel, and what of it."""
        one = self.summary
        at = f"row-{one.row}-column-{one.column}" if isinstance(one, MapPlace) else one
        return f"channel-{self.channel}-{at}"


class OcclusionParams(MethodParams):
    """Occlusion: what the output loses when a window of the image is hidden, window by window."""

    version = 1
    use = "for a customer: hide a part and see what it costs, with no gradient and no assumption about the network"
    guarantee = "exact to rounding, for the windows and the fill that were asked for"
    cost_class = (
        "a forward pass for each window and baseline, 169 unless told; of convolutions only what a window changes is "
        "computed again, which saves a half to four fifths of it"
    )

    method: Literal["occlusion"]
    target: Target = "predicted"
    """The classes to explain."""
    output: ExplainedOutput = "logit"
    """What is explained: the raw logit (default), the probability or its logarithm."""
    window: Sides | None = None
    """Size of the windows; a seventh of the image's height and width unless told."""
    stride: Sides | None = None
    """From one window to the next, at most a window; half a window unless told."""
    baselines: Annotated[list[Baseline], Field(min_length=1, max_length=8)] = [ZeroBaseline()]
    """What windows are filled with; the changes of several are averaged."""
    feature_maps: Annotated[list[ChosenFeatureMap], Field(max_length=16)] = []
    """Feature maps that are followed beside the classes, each with a map of its own."""
    n_rises: Annotated[int, Field(ge=0, le=100, strict=True)] = 5
    """The most classes that are told as rising when a part is hidden."""

    def windows(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Size and stride of the windows over an image."""
        window = _pair(self.window) or (-(-height // _PARTS), -(-width // _PARTS))
        return window, _pair(self.stride) or (max(1, window[0] // 2), max(1, window[1] // 2))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of windows over an image; they end with the first that reaches its end."""
        window, stride = self.windows(height, width)
        down, across = (
            1 + -(-max(0, side - size) // step)
            for side, size, step in zip((height, width), window, stride, strict=True)
        )
        return down, across

    def passes(self, scale: Scale) -> int:
        """A forward pass for each window and baseline, as if each were a whole one."""
        rows, columns = self.grid(*scale.sides)
        return _WHOLE_PASSES + scale.baselines * rows * columns

    @property
    def quantities(self) -> tuple[str, ...]:
        """The map of each image and class."""
        return ("occlusion",)


def _pair(given: int | list[int] | None) -> tuple[int, int] | None:
    if given is None:
        return None
    return (given, given) if isinstance(given, int) else (given[0], given[1])
