"""The result of a job."""

from typing import Any, Literal

from contracts.base import Sha256, Wire
from contracts.problems import Problem


class ClassScore(Wire):
    """One class of a prediction."""

    index: int
    name: str | None
    logit: float
    probability: float


class TargetScore(Wire):
    """One explained class of one image."""

    index: int
    name: str | None
    output: float
    """The explained output of the image: logit, probability or log-probability."""
    sum: float
    """The sum of the map; it differs from output minus baseline output by the completeness error."""


class Completeness(Wire):
    """How far a map is from adding up."""

    target: int
    convergence_delta: float
    """Sum of the map minus the difference of the outputs that it explains."""
    relative: float | None
    """The same as a share of that difference; null where the difference is zero."""
    absolute_gap: float | None
    """Sum of the absolute gaps of all intervals, as a share of the difference, where the method knows them."""
    n_steps: int
    """Points evaluated for the image, over all its baselines."""


class ArtifactRef(Wire):
    """One file of the result."""

    name: str
    image: int | None
    """Position of the image in the request."""
    target: int | None
    """Index of the explained class."""
    layer: str | None = None
    quantity: str
    """For example `attributions`, `heatmap`, `overlay`."""
    media_type: str
    href: str
    sha256: Sha256
    size: int
    shape: list[int] | None = None
    """Of a raw map: its axes, channels first; of a PNG: height, width."""
    colormap: str | None = None
    range: tuple[float, float] | None = None
    """The values at both ends of the colour map."""


class ImageResult(Wire):
    """What is known of one image."""

    index: int
    custom_id: str | None
    sha256: Sha256
    error: Problem | None = None
    """Why this image has no maps; the others are not affected."""
    prediction: list[ClassScore] = []
    """The five most probable classes."""
    targets: list[TargetScore] = []
    completeness: list[Completeness] = []
    artifacts: list[ArtifactRef] = []


class Counts(Wire):
    """How many images of the job were explained."""

    images: int
    succeeded: int
    failed: int


class Quality(Wire):
    """Figures about the whole run."""

    max_relative_gap: float | None
    """The worst completeness error of all maps."""
    chunk_size: int | None
    """Rows that went through the network together."""


class Provenance(Wire):
    """Everything needed to compute the same again."""

    model_name: str | None
    model_version: str | None
    model_sha256: Sha256 | None
    method: str
    method_version: int
    parameters: dict[str, Any]
    """The parameters after defaults were filled in."""
    seed: int
    torch: str | None
    device: str
    threads: int
    worker: str
    attempt: int
    seconds: dict[str, float]
    """Where the time went: model, decode, predict, explain, render, store."""


class Result(Wire):
    """The outcome of a job that succeeded."""

    job: str
    kind: Literal["explain", "check", "self_test"]
    counts: Counts
    images: list[ImageResult] = []
    quality: Quality | None = None
    artifacts: list[ArtifactRef] = []
    """Files that belong to the job as a whole."""
    details: dict[str, Any] = {}
    """What a kind other than `explain` has to say."""
    provenance: Provenance
