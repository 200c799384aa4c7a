"""Parameters of multi-class importance."""

from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from attribution_contracts.base import Wire, form_of
from attribution_contracts.baselines import Baseline
from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.targets import ExplainedOutput, TargetClasses, TargetMinProbability, TargetTopK

Compared = Annotated[
    Annotated[Literal["all"], Tag("word")]
    | Annotated[TargetClasses, Tag("TargetClasses")]
    | Annotated[TargetTopK, Tag("TargetTopK")]
    | Annotated[TargetMinProbability, Tag("TargetMinProbability")],
    form_of(
        ("all",),
        {"classes": TargetClasses, "top_k": TargetTopK, "min_probability": TargetMinProbability},
        'expected "all", or an object with classes, top_k or min_probability',
    ),
]

_EXACT_AT_MOST = 128
"""Directions that `auto` finds all maps exactly from: what a sketch takes, which is 64 beside a last linear layer."""

_TAKERS = {
    "baselines": ("integrated_gradients", "deeplift"),
    "n_steps": ("integrated_gradients",),
    "quadrature": ("integrated_gradients",),
    "epsilon": ("lrp_epsilon",),
}
"""Which attributions take which option."""


class PixelAt(Wire):
    """One value of the network's input, by coordinate."""

    row: Annotated[int, Field(ge=0, strict=True)]
    """From the top."""
    column: Annotated[int, Field(ge=0, strict=True)]
    """From the left."""
    channel: Annotated[int, Field(ge=0, le=2, strict=True)] = 0
    """Of the network's input."""


ChosenPixel = Annotated[
    Annotated[Literal["most", "least", "nearly_zero"], Tag("word")] | Annotated[PixelAt, Tag("PixelAt")],
    form_of(
        ("most", "least", "nearly_zero"),
        dict.fromkeys(PixelAt.model_fields, PixelAt),
        'expected "most", "least", "nearly_zero", or an object with row and column',
    ),
]


class MulticlassImportanceParams(MethodParams):
    """Multi-class importance: which pixels tell the classes apart, all of them at the price of one."""

    version = 3
    use = "for a debugger of confusions: the pixels that tell classes apart, whichever class wins"
    guarantee = "exact; a sketch is unbiased with a standard error"
    cost_class = (
        "importance: two passes for each image, whatever the number of classes; the other maps: a backward pass for "
        "each of at most `min(classes - 1, features of the last layer)` directions, or of those of the sketch: 64 for "
        "most networks"
    )

    method: Literal["multiclass_importance"]
    attribution: Literal[
        "input_x_gradient", "gradient", "saliency", "integrated_gradients", "deeplift", "lrp_epsilon"
    ] = "input_x_gradient"
    """What says how much a pixel speaks for a class; `gradient` is signed, `saliency` its absolute value."""
    classes: Compared = "all"
    """The classes that are compared, at least two."""
    output: ExplainedOutput = "logit"
    """What varies between the classes: the raw logits (default), the probabilities or their logarithms."""
    mode: Literal["auto", "exact", "sketch", "importance"] = "auto"
    """All maps exactly; from few directions, with their error; the cheaper of these two; or the importance alone."""
    n_directions: Annotated[int, Field(ge=0, le=4096, strict=True)] | None = None
    """Of a sketch: leading directions of the last layer; 56 where the network has one."""
    n_signs: Annotated[int, Field(ge=0, le=4096, strict=True)] | None = None
    """Of a sketch: random directions beside them, not 1; 8 beside leading directions, 128 alone."""
    radius: Annotated[int, Field(ge=1, le=100, strict=True)] = 3
    """Of the silhouette's surroundings, in pixels."""
    threshold: Annotated[float, Field(gt=1, le=1000, strict=True)] = 3.0
    """How many times a value stands out of some neighbour's, to belong to the silhouette."""
    baselines: Annotated[list[Baseline], Field(min_length=1, max_length=8)] | None = None
    """Of integrated gradients and DeepLIFT: where the path starts; several are averaged. Black unless told."""
    n_steps: Annotated[int, Field(ge=1, le=1000, strict=True)] | None = None
    """Of integrated gradients: points of the quadrature, 50 unless told."""
    quadrature: Literal["gauss_legendre", "trapezoid", "midpoint", "right"] | None = None
    """Of integrated gradients: the rule, Gauss-Legendre unless told."""
    epsilon: Annotated[float, Field(ge=1e-12, le=1, strict=True)] | None = None
    """Of epsilon-LRP, in units of a layer's output; 1e-4 unless told."""
    pixels: Annotated[list[ChosenPixel], Field(max_length=16)] = []
    """Pixels whose co-variation with all others is wanted, by their importance or by coordinate."""

    def passes(self, scale: Scale) -> int:
        """Two for the importance and one backward for each direction, at every point of every path."""
        sketched = (56 if self.n_directions is None else self.n_directions) + (
            128 if self.n_signs is None else self.n_signs
        )
        compared = self._compared(scale)
        directions = {
            "importance": 0,
            "exact": compared,
            "sketch": min(compared, sketched),
            "auto": compared if self.attribution == "saliency" else min(compared, _EXACT_AT_MOST),
        }[self.mode]
        steps = (self.n_steps or 50) if self.attribution == "integrated_gradients" else 1
        return scale.baselines * steps * (2 + directions)

    def _compared(self, scale: Scale) -> int:
        match self.classes:
            case TargetTopK(top_k=n):
                return min(n, scale.classes)
            case TargetClasses(classes=classes):
                return min(len(classes), scale.classes)
        return scale.classes

    @property
    def also_uses(self) -> tuple[str, ...]:
        """What hands its attributions back by rules."""
        return {"deeplift": ("deeplift",), "lrp_epsilon": ("lrp",)}.get(self.attribution, ())

    @property
    def quantities(self) -> tuple[str, ...]:
        """The maps of each image, that which stands for the method where one must first."""
        if self.mode == "importance":
            return ("importance",)
        return ("std", "importance", "individual", "covariation", "silhouette")

    @model_validator(mode="after")
    def _require_two_classes(self) -> "MulticlassImportanceParams":
        given = self.classes
        if isinstance(given, TargetTopK) and given.top_k < 2:
            raise ValueError("classes: top_k is 1, expected at least 2, for classes are compared")
        if isinstance(given, TargetClasses) and len(given.classes) < 2:
            raise ValueError(f"classes: given {given.classes}, expected at least two, for classes are compared")
        return self

    @model_validator(mode="after")
    def _require_options_of_the_attribution(self) -> "MulticlassImportanceParams":
        for name, takers in _TAKERS.items():
            if getattr(self, name) is not None and self.attribution not in takers:
                raise ValueError(f"{name} belongs to {' and '.join(takers)}, attribution is {self.attribution}")
        if self.output != "logit" and self.attribution in {"deeplift", "lrp_epsilon"}:
            raise ValueError(f"{self.attribution} explains logits, output is {self.output}")
        if self.attribution == "saliency" and (self.mode not in {"auto", "exact"} or self.pixels):
            raise ValueError(
                "saliency is not linear in the output: it takes mode=exact and no pixels; gradient, which has a "
                "sign, takes all"
            )
        return self

    @model_validator(mode="after")
    def _require_options_of_the_mode(self) -> "MulticlassImportanceParams":
        if self.mode != "sketch" and not (self.n_directions is None and self.n_signs is None):
            raise ValueError(f"n_directions and n_signs belong to mode=sketch, mode is {self.mode}")
        if self.n_signs == 1 or (self.n_signs == 0 and self.n_directions == 0):
            raise ValueError("a sketch takes at least one direction or two signs: no error can be told from one sign")
        if self.quadrature == "trapezoid" and self.n_steps == 1:
            raise ValueError("trapezoid needs at least 2 steps: it evaluates both ends")
        return self
