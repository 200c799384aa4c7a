"""Parameters of layer Shapley."""

from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import Field, Tag, model_validator

from attribution_contracts.base import Wire, form_of
from attribution_contracts.baselines import Baseline, BlackBaseline
from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.parameters.layers import FEW_PATTERNS, LayerChoice, SomeLayers
from attribution_contracts.targets import ExplainedOutput, Target

FeatureMap = Annotated[int, Field(ge=0, strict=True)]

DEFAULT_TOLERANCE = 0.05
"""Of `path`: the gap of the worst layer that it is worked to unless told; more is warned of."""
_MOST_POINTS, _USUAL_POINTS, _USUAL_OF_DIFFERENCE = 257, 64, 72
"""Points of a path that a tolerance may take unless told, and those that it takes on most networks, for a class and for
a difference of classes: see the figures in docs/methods/integrated_gradients.md."""

_TAKERS = {
    "n_steps": ("path", "layer_path"),
    "tolerance": ("path", "feature_maps"),
    "max_steps": ("path",),
    "n_samples": ("expected_gradients", "feature_maps"),
    "players": ("feature_maps",),
    "sampler": ("feature_maps",),
    "excluded": ("feature_maps",),
}
"""Which estimators take which option."""


_EVALUATIONS = 4096
"""Of a layer's tail where none are told: 32 for each of 128 players."""


class PlayerGroups(Wire):
    """Groups of feature maps that take part together; each feature map is in one of them."""

    groups: Annotated[list[Annotated[list[FeatureMap], Field(min_length=1)]], Field(min_length=1, max_length=4096)]
    """Indices of feature maps."""

    @model_validator(mode="after")
    def _require_each_once(self) -> "PlayerGroups":
        seen = set[int]()
        for index in chain.from_iterable(self.groups):
            if index in seen:
                raise ValueError(f"feature map {index} is named twice: expected each feature map in one group, once")
            seen.add(index)
        return self


class PlayerCells(Wire):
    """Cells of a grid over the layer's space, each with all its feature maps."""

    rows: Annotated[int, Field(ge=1, le=64, strict=True)]
    """Cells from top to bottom."""
    columns: Annotated[int, Field(ge=1, le=64, strict=True)]
    """Cells from left to right."""


Players = Annotated[
    Annotated[Literal["feature_maps"], Tag("word")]
    | Annotated[PlayerGroups, Tag("PlayerGroups")]
    | Annotated[PlayerCells, Tag("PlayerCells")],
    form_of(
        ("feature_maps",),
        {"groups": PlayerGroups, "rows": PlayerCells, "columns": PlayerCells},
        'expected "feature_maps", an object with groups, or one with rows and columns',
    ),
]
Layers = Annotated[
    Annotated[Literal["stages", "all"], Tag("word")] | SomeLayers,
    form_of(("stages", "all"), {}, 'expected "stages", "all" or a list of names, kinds and patterns of layers'),
]


class LayerShapleyParams(MethodParams):
    """Layer Shapley: what every layer of the network contributes to the output, one map a layer."""

    version = 6
    use = "for a debugger: at which depth, and in which feature maps, a decision comes about"
    guarantee = (
        "exact up to the reported completeness gap of each layer; feature maps as players are exact, or come with a "
        "standard error"
    )
    cost_class = (
        "forward and backward passes at some 30 to 70 points for each image and background image, at most at "
        "max_steps, or at n_steps points, for all layers together; the estimators layer_path and feature_maps work "
        "layer by layer"
    )

    method: Literal["layer_shapley"]
    target: Target = "predicted"
    """The classes to explain."""
    output: ExplainedOutput = "logit"
    """What is explained: the raw logit (default), the probability or its logarithm."""
    layers: Layers = "stages"
    """Stem, ends of stages, last convolution; all layers; or some by name, kind (`conv`) or pattern (`features.*`)."""
    estimator: Literal["path", "expected_gradients", "layer_path", "deeplift", "feature_maps"] = "path"
    """How; all but `feature_maps` and `layer_path` find all layers in one pass."""
    baselines: Annotated[list[Baseline], Field(min_length=1, max_length=8)] = [BlackBaseline()]
    """The background: images that all layers are compared with, averaged."""
    n_steps: Annotated[int, Field(ge=1, le=1000, strict=True)] | None = None
    """Nodes on each path: of `path` in place of a tolerance; of `layer_path`, 32 unless told."""
    tolerance: Annotated[float, Field(ge=1e-6, lt=1e6, strict=True)] | None = None
    """Of `path`: largest gap of the worst layer, relative, 0.05 without steps; of `feature_maps`: standard error at
    which to stop."""
    max_steps: Annotated[int, Field(ge=17, le=2000, strict=True)] | None = None
    """With `tolerance`: the most points a path, 257 unless told."""
    n_samples: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None
    """Samples of `expected_gradients`, 32 unless told; evaluations of the layer's tail for `feature_maps`."""
    players: Players | None = None
    """Who takes part: the layer's feature maps, groups of them, or cells of its space."""
    sampler: Literal["linear", "exact", "permutations", "regression"] | None = None
    """How coalitions are chosen; the first possible of linear, exact and regression unless told."""
    excluded: Literal["mean", "average"] | None = None
    """What stands for players that take no part: their mean over the background, or each of its images in turn."""
    raw: Annotated[list[LayerChoice], Field(max_length=20), FEW_PATTERNS] = []
    """Layers whose values are also returned whole, with all their feature maps."""
    top: Annotated[int, Field(ge=1, le=100, strict=True)] = 10
    """How many feature maps of each layer are listed, the largest scores first whatever their sign."""

    def filled(self) -> dict[str, Any]:
        """All parameters, with the tolerance or the points of a path that are taken."""
        if self.estimator == "layer_path":
            return super().filled() | {"n_steps": self.n_steps or 32}
        if self.estimator != "path" or self.accuracy is None:
            return super().filled()
        return super().filled() | {"tolerance": self.accuracy, "max_steps": self.max_steps or _MOST_POINTS}

    @property
    def also_uses(self) -> tuple[str, ...]:
        """DeepLIFT, by the estimator of that name."""
        return ("deeplift",) if self.estimator == "deeplift" else ()

    @property
    def accuracy(self) -> float | None:
        """The tolerance that it is worked to, told or not; nothing where steps are given, or by other estimators."""
        if self.estimator != "path" or self.n_steps is not None:
            return None
        return DEFAULT_TOLERANCE if self.tolerance is None else self.tolerance

    def passes(self, scale: Scale) -> int:
        """By the estimator: points of paths, samples, or evaluations of what follows a layer."""
        return self._passes(self.max_steps or _MOST_POINTS, scale)

    def usual_passes(self, scale: Scale) -> int:
        """The same with as many points as a tolerance takes on most networks."""
        usual = _USUAL_OF_DIFFERENCE if scale.is_difference else _USUAL_POINTS
        return self._passes(min(self.max_steps or _MOST_POINTS, usual), scale)

    def _passes(self, to_tolerance: int, scale: Scale) -> int:
        once = 1 + scale.targets
        paths = scale.baselines * ((self.n_steps or 32) if self.accuracy is None else to_tolerance)
        if self.estimator == "path":
            return paths * once
        if self.estimator == "layer_path":
            return scale.layers * paths * once
        if self.estimator == "expected_gradients":
            return (self.n_samples or 32) * once
        if self.estimator == "deeplift":
            return 3 * scale.baselines * once
        worth = scale.baselines if self.excluded == "average" else 1
        evaluations = self.n_samples or _EVALUATIONS * worth
        return scale.layers * evaluations * (2 if self.tolerance is not None and self.n_samples is None else 1)

    @property
    def explained(self) -> str | list[str]:
        """The layers explained; where nobody chose some, those whose values are wanted belong to them."""
        return ["stages", *self.raw] if self.layers == "stages" and self.raw else self.layers

    @property
    def quantities(self) -> tuple[str, ...]:
        """The maps of each image, class and layer."""
        return ("layer_map",)

    @model_validator(mode="after")
    def _require_options_of_the_estimator(self) -> "LayerShapleyParams":
        for name, takers in _TAKERS.items():
            if getattr(self, name) is not None and self.estimator not in takers:
                raise ValueError(f"{name} belongs to {' and '.join(takers)}, estimator is {self.estimator}")
        if self.estimator == "path" and self.tolerance is not None and self.n_steps is not None:
            raise ValueError("tolerance chooses its own points: give either tolerance or n_steps")
        if self.max_steps is not None and self.n_steps is not None:
            raise ValueError("max_steps belongs to a tolerance, n_steps takes its own points: give either")
        if self.estimator == "path" and self.n_steps == 1:
            raise ValueError("path needs at least 2 steps: it evaluates both ends")
        return self

    @model_validator(mode="after")
    def _require_what_the_estimator_gives(self) -> "LayerShapleyParams":
        if self.estimator == "deeplift" and self.output != "logit":
            raise ValueError(f"deeplift explains logits: output is {self.output}, use logit or another estimator")
        if self.sampler in {"exact", "linear"} and self.n_samples is not None:
            raise ValueError(
                f"n_samples belongs to the samplers permutations and regression, sampler is {self.sampler}"
            )
        if self.estimator == "feature_maps" and self.raw:
            raise ValueError("raw: feature_maps has one value a player and none inside it")
        return self
