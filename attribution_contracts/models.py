"""Models: what a client registers and what a worker reports of it."""

from collections.abc import Collection
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StringConstraints, model_validator

from attribution_contracts.base import ClassName, Name, Sha256, Wire, require_one_of
from attribution_contracts.patterns import ARCHITECTURE, ONNX, TORCHVISION_WEIGHTS
from attribution_contracts.problems import Problem
from attribution_contracts.states import ModelState

Architecture = Annotated[str, StringConstraints(pattern=ARCHITECTURE)]
Scalar = StrictBool | StrictInt | StrictFloat | Annotated[str, StringConstraints(max_length=200)]


Link = Literal["softmax", "sigmoid", "none"]
"""What makes probabilities of the outputs: softmax, a sigmoid of each, or nothing where they are probabilities."""


class Preprocessing(Wire):
    """How an image becomes the network's input."""

    color: Literal["rgb", "grey"] = "rgb"
    """Three channels or one."""
    size: Annotated[tuple[StrictInt, StrictInt], Field(examples=[[224, 224]])]
    """Height and width of the network's input."""
    resize: Annotated[int, Field(ge=1, le=4096, strict=True)] | None = None
    """Shorter side before the centre crop to `size`; without it the image is resized to `size` directly."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "bilinear"
    """How the image is resized."""
    mean: list[StrictFloat] = [0.0]
    """Subtracted from values in [0, 1], one a channel or one for all."""
    std: list[Annotated[float, Field(ge=1e-6, strict=True)]] = [1.0]
    """Divides what is left, one a channel or one for all."""

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return 3 if self.color == "rgb" else 1

    @model_validator(mode="after")
    def _require_consistent(self) -> "Preprocessing":
        if not all(1 <= side <= 4096 for side in self.size):
            raise ValueError(f"size must be two numbers from 1 to 4096, given {list(self.size)}")
        if self.resize is not None and self.resize < max(self.size):
            raise ValueError(f"resize ({self.resize}) must be at least the larger side of size ({max(self.size)})")
        for name in ("mean", "std"):
            given = len(getattr(self, name))
            if given not in {1, self.channels}:
                raise ValueError(f"{name} must have 1 or {self.channels} numbers for color={self.color}, given {given}")
        return self


class Weights(Wire):
    """Where the parameters come from: exactly one of the three."""

    example: ClassVar[dict[str, object]] = {"part": "weights"}

    sha256: Sha256 | None = None
    """Digest of a safetensors or ONNX file uploaded before."""
    part: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The part of the multipart body that holds the safetensors or ONNX file."""
    torchvision: Annotated[str, StringConstraints(pattern=TORCHVISION_WEIGHTS)] | None = None
    """torchvision's own weights by name, for example `IMAGENET1K_V1`, where the workers' network reaches them."""

    @model_validator(mode="after")
    def _require_one_source(self) -> "Weights":
        require_one_of(self, "sha256", "part", "torchvision")
        return self


class ModelSpec(Wire):
    """A classifier to register."""

    name: Name
    """What jobs call the model."""
    version: Name = "1"
    """A version never changes once registered."""
    architecture: Architecture
    """`torchvision:<name>`, one of ours, `factory:<name>` from the operator's configuration, or `onnx`."""
    options: Annotated[dict[str, Scalar], Field(max_length=32)] = {}
    """Keywords of the builder: numbers, strings and booleans; never `weights`."""
    weights: Weights
    """The parameters of the network; of `onnx` all of it."""
    preprocessing: Preprocessing
    """How an image becomes its input."""
    labels: Annotated[list[ClassName], Field(max_length=100_000)] = []
    """Names of the classes in the order of the outputs; empty: classes have no names."""
    link: Link | None = None
    """What makes probabilities of the outputs; found out unless told. For classes that go together it is `sigmoid`."""
    decomposed: Annotated[int, Field(ge=1, le=100_000, strict=True)] | None = None
    """Features a class of a decomposed final layer, whose weights a fit or a retraining returned."""
    backgrounds: Annotated[
        dict[Name, Annotated[list[Sha256], Field(min_length=1, max_length=64)]], Field(max_length=16)
    ] = {}
    """Named sets of images, uploaded before, that methods may compare with as `{"kind": "set", "name": ...}`."""

    @model_validator(mode="after")
    def _refuse_reserved_options(self) -> "ModelSpec":
        reserved = sorted({"weights", "weights_backbone", "pretrained", "progress"} & set(self.options))
        if reserved:
            raise ValueError(f"options may not set {', '.join(reserved)}: weights are given in `weights`")
        return self

    @model_validator(mode="after")
    def _require_whole_file(self) -> "ModelSpec":
        given = {
            "options": self.options,
            "decomposed": self.decomposed,
            "weights.torchvision": self.weights.torchvision,
        }
        wrong = [name for name, value in given.items() if value]
        if self.architecture == ONNX and wrong:
            raise ValueError(f"an ONNX file is the whole network: leave out {', '.join(wrong)}")
        return self


class LayerInfo(Wire):
    """One call in the forward pass."""

    name: str
    kind: str
    shape: list[int] | None
    cuts: bool
    """Whether every path through the network runs through it."""


class MethodApplies(Wire):
    """Whether a method applies to a model."""

    applies: bool
    reason: str | None = None


class MeasuredCheck(Wire):
    """One thing that a worker found out about a model by running it."""

    name: str
    """For example `deterministic`, `rows`, `gradient`."""
    figure: float | None
    """What was measured; null where nothing could be, or it is no number."""
    bound: float | None
    """What the figure may be."""
    verdict: Literal["right", "refused", "noted", "unknown"]
    """`refused`: methods that depend on it do not apply; `noted`: let pass, but see `detail`."""
    detail: str
    """What it means and what to do, where there is something to say."""


class Speed(Wire):
    """Seconds that an image took at the check, several together, on the worker that checked the model."""

    forward: float
    """Of a forward pass."""
    gradient: float | None
    """Of a forward and a backward pass; null where the network has no gradients."""

    @property
    def a_pass(self) -> float:
        """The mean of both directions."""
        return self.forward if self.gradient is None else self.gradient / 2


class DefaultMethod(Wire):
    """What `"method": "auto"` means for a model."""

    method: str
    reason: str
    passes: int
    """Passes of one image through the network, forward or backward, that a map of one class usually takes."""
    seconds: float | None
    """The same at the speed that the check measured; null in reports of earlier versions of the service."""


class ModelReport(Wire):
    """What a worker found when it built the network."""

    classes: int
    input_shape: list[int]
    parameters: int
    weight_bytes: int | None = None
    """Parameters and buffers in a worker's memory; null in reports of earlier versions of the service."""
    traced: bool
    linear_head: str | None
    features: int | None = None
    """That the final layer computes its scores from; null where there is none to decompose."""
    layers: list[LayerInfo]
    stages: list[str] = []
    """The few layers that a person looks at first: stem, ends of stages, last convolution."""
    mapped: list[str] | None = None
    """The layers whose values have a place in the image that the outputs depend on, which `cam` can show; null in
    reports of earlier versions, and where layers are unknown."""
    relevance_rule: str | None = None
    """The rule that `lrp` follows unless told: `cp_lrp` where those of layers do not apply; null where none does, and
    in reports of earlier versions."""
    methods: dict[str, MethodApplies]
    default: DefaultMethod | None = None
    """What `"method": "auto"` takes; null where nothing that it might take applies."""
    link: Link = "softmax"
    """What makes probabilities of the outputs."""
    speed: Speed | None = None
    """How fast it ran; null in reports of earlier versions of the service."""
    checks: list[MeasuredCheck] = []
    """What was measured, with its figures."""
    warnings: list[str] = []

    def without(self, methods: Collection[str]) -> "ModelReport":
        """The same, which says nothing of some methods."""
        left = {name: found for name, found in self.methods.items() if name not in methods}
        return self.model_copy(update={"methods": left})


class ModelVersion(Wire):
    """A registered version of a model."""

    name: str
    version: str
    state: ModelState
    sha256: Sha256
    """Digest of architecture, options, form of the final layer, preprocessing, labels, backgrounds and weights."""
    architecture: str
    preprocessing: Preprocessing
    labels: list[str]
    """Names of the classes; empty where several versions are listed, which have their number alone."""
    labels_count: int = 0
    """How many classes have names."""
    backgrounds: dict[str, list[Sha256]] = {}
    decomposed: int | None = None
    """Features a class of a decomposed final layer."""
    classes: int | None
    created_at: datetime
    error: Problem | None
    """Why it was refused."""
    check_job: str | None
    """The job that checks it, or did; null once that job was deleted."""


class ModelList(Wire):
    """One page of the registered versions, by name and age."""

    models: list[ModelVersion]
    next_cursor: str | None
    """Give this as `cursor` for the next page; null on the last one."""
