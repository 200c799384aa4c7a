"""Parameters of each method, discriminated by `method`, and what the catalogue says of it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from contracts.base import ClassIndex, ClassName, Wire
from contracts.images import ImageRef


class TargetClasses(Wire):
    """Chosen classes, by index or by name."""

    classes: Annotated[list[ClassIndex | ClassName], Field(min_length=1, max_length=1000)]
    """Indices of outputs, or names from the model's labels."""


class TargetTopK(Wire):
    """The classes with the highest logits of each image."""

    top_k: Annotated[int, Field(ge=1, le=1000, strict=True)]
    """How many classes, the highest first."""


Target = Literal["predicted", "all"] | TargetClasses | TargetTopK
Output = Literal["logit", "probability", "log_probability"]


class ZeroBaseline(Wire):
    """Zero after normalisation: every pixel at the mean colour of the model's preprocessing."""

    kind: Literal["zero"] = "zero"


class BlackBaseline(Wire):
    """Black in pixel space, through the model's normalisation."""

    kind: Literal["black"] = "black"


class WhiteBaseline(Wire):
    """White in pixel space, through the model's normalisation."""

    kind: Literal["white"] = "white"


class MeanBaseline(Wire):
    """Each image's own mean colour."""

    kind: Literal["mean"] = "mean"


class BlurBaseline(Wire):
    """The image blurred by a Gaussian."""

    kind: Literal["blur"] = "blur"
    sigma: Annotated[float, Field(ge=0.1, le=200, strict=True)] = 10.0
    """Standard deviation of the Gaussian, in pixels of the model's input."""


class UniformBaseline(Wire):
    """Uniform noise in pixel space, drawn from the job's seed and the image's digest."""

    kind: Literal["uniform"] = "uniform"
    n_samples: Annotated[int, Field(ge=1, le=64, strict=True)] = 1
    """How many draws to average."""


class ImageBaseline(Wire):
    """A given image, preprocessed like the input."""

    kind: Literal["image"] = "image"
    image: ImageRef
    """Where the path starts for every input."""


class BackgroundBaseline(Wire):
    """A set of given images, all averaged for every input."""

    kind: Literal["background"] = "background"
    images: Annotated[list[ImageRef], Field(min_length=1, max_length=64)]
    """The images that are averaged."""


Baseline = Annotated[
    ZeroBaseline
    | BlackBaseline
    | WhiteBaseline
    | MeanBaseline
    | BlurBaseline
    | UniformBaseline
    | ImageBaseline
    | BackgroundBaseline,
    Field(discriminator="kind"),
]


class SmoothGrad(Wire):
    """Average the map over noisy copies of the input; the completeness error is that of the copies, averaged."""

    n_samples: Annotated[int, Field(ge=1, le=256, strict=True)] = 16
    """How many noisy copies."""
    noise: Annotated[float, Field(gt=0, le=1, strict=True)] = 0.1
    """Standard deviation of the noise as a share of the range from black to white."""


class IntegratedGradientsParams(Wire):
    """Integrated gradients: the gradient integrated along the straight path from a baseline to the image."""

    version: ClassVar[int] = 1
    guarantee: ClassVar[str] = "exact up to the reported completeness gap of each map"
    cost_class: ClassVar[str] = "n_steps forward and backward passes for each image and baseline"

    method: Literal["integrated_gradients"]
    target: Target = "predicted"
    """The classes to explain."""
    output: Output = "logit"
    """What is explained: the raw logit (default), the probability or its logarithm."""
    baselines: Annotated[list[Baseline], Field(min_length=1, max_length=8)] = [BlackBaseline()]
    """Where the path starts; several are averaged."""
    n_steps: Annotated[int, Field(ge=1, le=1000, strict=True)] | None = None
    """Points of the quadrature; 50 where neither this nor `tolerance` is given."""
    quadrature: Literal["gauss_legendre", "trapezoid", "midpoint", "right"] | None = None
    """The rule; Gauss-Legendre where neither this nor `tolerance` is given."""
    tolerance: Annotated[float, Field(ge=1e-6, lt=1, strict=True)] | None = None
    """Instead of steps and rule: split intervals until the completeness gap is at most this share of the difference."""
    max_steps: Annotated[int, Field(ge=5, le=2000, strict=True)] = 256
    """The most points that `tolerance` may use for each image and baseline."""
    smoothgrad: SmoothGrad | None = None
    """Average over noisy copies of the input."""

    @model_validator(mode="after")
    def _require_one_accuracy(self) -> "IntegratedGradientsParams":
        if self.tolerance is not None and (self.n_steps is not None or self.quadrature is not None):
            raise ValueError("tolerance chooses its own points: give either tolerance, or n_steps and quadrature")
        if self.quadrature == "trapezoid" and self.n_steps == 1:
            raise ValueError("trapezoid needs at least 2 steps: it evaluates both ends")
        return self


class SelfTestParams(Wire):
    """A job that needs no model and does as it is told: for doctors and fault tests."""

    version: ClassVar[int] = 1
    guarantee: ClassVar[str] = "does what `action` says"
    cost_class: ClassVar[str] = "none"

    method: Literal["self_test"]
    action: Literal["nothing", "sleep", "fail", "exit", "segfault", "out_of_memory", "hang", "fan_out"] = "nothing"
    """What the worker does."""
    seconds: Annotated[float, Field(ge=0, le=3600, strict=True)] = 0.0
    """How long `sleep` sleeps, in steps of 0.05 s between which it can be cancelled."""
    children: Annotated[int, Field(ge=1, le=1000, strict=True)] = 4
    """How many children `fan_out` makes; each does nothing, and the merge counts them."""
    times: Annotated[int, Field(ge=1, le=1000, strict=True)] = 1000
    """`fail`, `exit`, `segfault`, `out_of_memory` and `hang` only strike on this many first attempts."""


Explanation = Annotated[IntegratedGradientsParams | SelfTestParams, Field(discriminator="method")]

METHODS: dict[str, type[IntegratedGradientsParams] | type[SelfTestParams]] = {
    "integrated_gradients": IntegratedGradientsParams,
    "self_test": SelfTestParams,
}
"""Every method of this version by its id on the wire."""


class MethodInfo(Wire):
    """One row of the catalogue."""

    id: str
    version: int
    """Grows when the same parameters give other numbers; answers of an older version are not reused."""
    summary: str
    guarantee: str
    """Exact, unbiased with a standard error, or heuristic."""
    cost_class: str
    """What a job costs, in passes through the network."""
    parameters: dict[str, object]
    """JSON schema of the parameters."""


class MethodList(Wire):
    """Every method of this version."""

    methods: list[MethodInfo]
