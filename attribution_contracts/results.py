"""The result of a job."""

from typing import Any, Literal

from attribution_contracts.base import Sha256, Wire
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.problems import Problem


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


class PixelFigures(Wire):
    """A chosen pixel and its co-variation with all others."""

    channel: int
    row: int
    column: int
    importance: float
    """Of the pixel: the sum of its co-variations, its individual effect included."""
    five_numbers: list[float]
    """Minimum, quartiles and maximum of its co-variation with the others."""


class ClassVariation(Wire):
    """What multi-class importance says of one image beside its maps."""

    classes: list[int]
    """The classes that were compared."""
    class_variation: float
    """`V[C]`: the squared deviations of their outputs from the mean, added up."""
    attributed_variation: float
    """The same of the sums of their attributions: what the importance adds up to."""
    completeness_delta: float
    """Sum of the importance minus what it would be for a complete attribution."""
    n_rows: int
    """Backward passes that the individual effects took."""
    relative_error: float | None = None
    """Of a sketch: estimated distance of `std` from the exact map, as a share of its norm."""
    correlation: float | None = None
    """Of a sketch: estimated Pearson correlation of `std` with the exact map."""
    pixels: list[PixelFigures] = []


class OcclusionCurve(Wire):
    """What becomes of the network's outputs as pixels go, or come back."""

    target: int
    """The class whose probability is followed."""
    order: Literal["map", "random", "input_x_gradient"]
    """What says which pixels go first."""
    quantity: str
    """The map that is judged."""
    direction: Literal["deletion", "insertion"]
    shares: list[float]
    """Of all pixels, replaced (or back) at each step."""
    n_pixels: list[int]
    """Pixels replaced (or back) at each step."""
    prediction: list[float]
    """Probability of the target."""
    entropy: list[float]
    """Of the probabilities of the compared classes, in nats."""
    standard_deviation: list[float]
    """Of the explained outputs over the compared classes."""
    prediction_area: float
    """Mean of the curve over the shares."""
    entropy_area: float
    standard_deviation_area: float


class FeatureMapScore(Wire):
    """What one feature map (or another player) of a layer contributes."""

    index: int
    score: float
    standard_error: float | None = None


class LayerResult(Wire):
    """What one layer contributes to one class of one image, in units of the output."""

    layer: str
    kind: str
    shape: list[int] | None
    """Of its values, without the batch."""
    cuts: bool
    """Whether every path through the network runs through it, so that it must account for the whole difference."""
    target: int
    sum: float
    """Of all its scores."""
    positive: float
    """Sum of its positive scores."""
    negative: float
    """Sum of its negative scores."""
    absolute: float
    """Sum of its scores whatever their sign."""
    convergence_delta: float | None = None
    """Sum of the layer minus what a complete attribution has; null inside a branch, which has no such number."""
    relative: float | None = None
    """The same as a share of the output's difference."""
    top: list[FeatureMapScore] = []
    """The feature maps with the largest scores, whatever their sign."""


class FeatureContribution(Wire):
    """What one influential feature adds to the logit of its class."""

    index: int
    contribution: float
    """Its value times its weight."""
    value: float
    place: int
    """In the class's histogram; 1 is the most frequent."""
    frequency: float
    """In what share of the class's images it was among the largest."""


class DecompositionResult(Wire):
    """One decision by the influential features of a class."""

    target: int
    logit: float
    decomposed_logit: float
    """By the influential features alone."""
    bias: float
    """Of the class: what the decomposed logit has besides the contributions."""
    convergence_delta: float
    """Contributions and bias minus the decomposed logit."""
    features: list[FeatureContribution]
    """In falling order of contribution."""
    maps_missing: str | None = None
    """Why there are no maps."""


class ArtifactRef(Wire):
    """One file of the result."""

    name: str
    image: int | None
    """Position of the image in the request."""
    target: int | None
    """Index of the explained class; null where all classes are compared."""
    layer: str | None = None
    quantity: str
    """For example `attributions`, `heatmap`, `overlay`."""
    of: str | None = None
    """Of a heatmap or overlay: the quantity that it shows."""
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
    class_variation: ClassVariation | None = None
    """Of multi-class importance."""
    layers: list[LayerResult] = []
    """Of layer Shapley: every layer in forward order, one entry a class."""
    decomposition: list[DecompositionResult] = []
    """Of the decomposition of the final layer: one entry a class."""
    occlusion: list[OcclusionCurve] = []
    """Where `quality.occlusion` asked for it."""
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
    peak_bytes: int | None = None
    """Most memory in use while a method ran, where it says so: of the accelerator, or of the worker's process."""
    occlusion_missing: str | None = None
    """Why there are no occlusion curves, although they were asked for."""


class Provenance(Wire):
    """Everything needed to compute the same again."""

    model_name: str | None
    model_version: str | None
    model_sha256: Sha256 | None
    method: str
    method_version: int
    parameters: dict[str, Any]
    """The parameters after defaults were filled in."""
    backgrounds: dict[str, Sha256] = {}
    """Named sets of images that were compared with, and the digest of the list of each."""
    seed: int
    torch: str | None
    device: str
    threads: int
    worker: str
    attempt: int
    seconds: dict[str, float]
    """Where the time went: model, decode, predict, explain, render, store."""


class CellResult(Wire):
    """One model and one explanation of a comparison."""

    job: str
    """The job that computed it."""
    model: ModelIdentity
    method: str
    explanation: int
    """Position among the explanations of the request."""
    error: Problem | None = None
    """Why it has no images; the other cells are not affected."""
    images: list[ImageResult] = []
    quality: Quality | None = None
    provenance: Provenance | None = None


class Result(Wire):
    """The outcome of a job that succeeded."""

    job: str
    kind: Literal["explain", "compare", "check", "ingest", "fit", "evaluate", "sweep", "ablate", "retrain", "self_test"]
    counts: Counts
    """Of a comparison: over all its cells."""
    images: list[ImageResult] = []
    cells: list[CellResult] = []
    """Of a comparison: its parts, explanations within models."""
    quality: Quality | None = None
    artifacts: list[ArtifactRef] = []
    """Files that belong to the job as a whole."""
    details: dict[str, Any] = {}
    """What a kind other than `explain` has to say."""
    provenance: Provenance

    def files(self) -> list[tuple[str, ArtifactRef]]:
        """Every file of the result with its name; those of a comparison's cells begin with the cell's."""
        own = [*self.artifacts, *(file for image in self.images for file in image.artifacts)]
        return [(file.name, file) for file in own] + [
            (f"{cell.model.name}@{cell.model.version}-explanation-{cell.explanation}-{file.name}", file)
            for cell in self.cells
            for image in cell.images
            for file in image.artifacts
        ]
