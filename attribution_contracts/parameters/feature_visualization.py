"""Parameters of feature visualisation."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from attribution_contracts.base import ClassIndex, ClassName
from attribution_contracts.baselines import BackgroundBaseline, SetBaseline
from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.parameters.layers import LayerChoice

_N_UNITS, _N_CROPS = 9, 1
_OWN = {"maco": ("magnitudes", "n_crops", "noise"), "plain": ("jitter", "blur", "total_variation")}
"""Options of one way alone."""
OUTPUT = "output"

Images = Annotated[SetBaseline | BackgroundBaseline, Field(discriminator="kind")]
Place = Annotated[int, Field(ge=0, lt=100_000, strict=True)]


class FeatureVisualizationParams(MethodParams):
    """Feature visualisation: a picture, made from noise, that excites a unit. It looks at the model alone."""

    version = 1
    use = "for a debugger: what a feature map, a neuron or a class looks for, without any image"
    guarantee = (
        "heuristic: pictures that excite a unit, and how far beyond what natural images do; no picture is unique"
    )
    cost_class = "for each unit and step a forward and a backward pass of the picture and of each part of it"
    takes = "none"
    makes_maps = False

    method: Literal["feature_visualization"]
    layer: LayerChoice = OUTPUT
    """A layer by its name; `last`, the last one with places; or `output`, whose channels are the classes."""
    channels: Annotated[list[ClassIndex | ClassName], Field(min_length=1, max_length=256)] | None = None
    """The units: channels of the layer, or classes of the output, by index or name; the first nine unless told."""
    at: Annotated[list[Place], Field(min_length=2, max_length=2)] | None = None
    """Row and column of a single neuron of each map; the mean of the map unless told."""
    mode: Literal["maco", "plain"] = "maco"
    """Phases of a fixed spectrum, or plain ascent of pixels from grey noise."""
    compared_with: Images | None = None
    """Natural images that the activations are held against: a set that was registered with the model, or given ones."""
    n_steps: Annotated[int, Field(ge=1, le=5000, strict=True)] = 64
    """Steps of each picture."""
    step_size: Annotated[float, Field(gt=0, le=10, strict=True)] | None = None
    """Of each: radians of a phase, 0.5 unless told; of `plain` the root mean square that pixels change by, 0.04."""
    magnitudes: Literal["natural", "images"] | None = None
    """Of `maco`: the spectrum, `natural` unless told, a closed form; or the mean of the images compared with."""
    n_crops: Annotated[int, Field(ge=0, le=64, strict=True)] | None = None
    """Of `maco`: random parts shown at each step beside the whole picture, 1 unless told."""
    noise: Annotated[float, Field(ge=0, le=1, strict=True)] | None = None
    """Of `maco`: noise on these, a standard deviation of pixels between 0 and 1; 0.1 unless told."""
    jitter: Annotated[float, Field(ge=0, le=0.5, strict=True)] | None = None
    """Of `plain`: how far the picture is moved at each step, as a share of its sides; 0.03 unless told."""
    blur: Annotated[float, Field(ge=0, le=100, strict=True)] | None = None
    """Of `plain`: the Gaussian after each step, in pixels; 0.5 unless told."""
    total_variation: Annotated[float, Field(ge=0, le=100, strict=True)] | None = None
    """Of `plain`: weight of smoothness beside the unit's gradient; 0.25 unless told."""

    @property
    def planes(self) -> int:
        """A picture a unit."""
        return _N_UNITS if self.channels is None else len(self.channels)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The picture of each unit."""
        return ("visualization",)

    def passes(self, scale: Scale) -> int:
        """Forward and backward for each view of each unit's picture at each step; each image once."""
        crops = _N_CROPS if self.n_crops is None else self.n_crops
        views = 1 + (crops if self.mode == "maco" else 0)
        return self.planes * (2 * views * self.n_steps + 1) + scale.baselines

    @model_validator(mode="after")
    def _require_sense(self) -> "FeatureVisualizationParams":
        [other] = _OWN.keys() - {self.mode}
        if needless := [name for name in _OWN[other] if getattr(self, name) is not None]:
            raise ValueError(f"{needless[0]}: it belongs to mode {other!r}, and mode is {self.mode!r}")
        if self.magnitudes == "images" and self.compared_with is None:
            raise ValueError("magnitudes: those of images are asked for, and compared_with names none")
        if self.layer == OUTPUT and self.at is not None:
            raise ValueError("at: outputs have no places; leave it out, or choose a layer with maps")
        if self.channels is not None and len(set(self.channels)) < len(self.channels):
            raise ValueError("channels: each may be named once")
        if self.layer != OUTPUT and (names := [one for one in self.channels or [] if isinstance(one, str)]):
            raise ValueError(f"channels: {names[0]!r} is a name, which classes have; channels of a layer are numbers")
        return self
