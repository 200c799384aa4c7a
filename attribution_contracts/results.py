"""The result of a job."""

from collections.abc import Iterator
from typing import Any, Literal

from attribution_contracts.base import Sha256, Wire
from attribution_contracts.figures.activation_maps import ActivationFigures
from attribution_contracts.figures.completeness import CompletenessFigures
from attribution_contracts.figures.decomposition import DecompositionFigures
from attribution_contracts.figures.deletions import DeletionFigures, PatchDeletions
from attribution_contracts.figures.feature_visualization import VisualizationFigures
from attribution_contracts.figures.first_layer_filters import FilterFigures
from attribution_contracts.figures.hidden_parts import HiddenPartsFigures
from attribution_contracts.figures.inversion import InversionFigures
from attribution_contracts.figures.layer_shapley import PIXELS, LayerFigures, UnitPlaces
from attribution_contracts.figures.localization import LocalizationFigures, MapLocalization
from attribution_contracts.figures.multiclass_importance import MulticlassFigures
from attribution_contracts.figures.occlusion import OcclusionFigures
from attribution_contracts.figures.randomization import MapRandomization, RandomizationFigures
from attribution_contracts.figures.regions import RegionFigures
from attribution_contracts.figures.relevance import ConservationFigures
from attribution_contracts.figures.sampling import SamplingFigures
from attribution_contracts.figures.segments import SegmentFigures
from attribution_contracts.figures.sensitivity import MapSensitivity, SensitivityFigures
from attribution_contracts.figures.standings import MapStandings
from attribution_contracts.file_names import FileNames
from attribution_contracts.hints import in_words
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.problems import Problem
from attribution_contracts.warnings import ResultWarning


class ClassScore(Wire):
    """One class of a prediction."""

    index: int
    name: str | None
    logit: float
    probability: float


class HeldAgainst(Wire):
    """A class that an explained class is held against."""

    index: int
    name: str | None
    weight: float
    """What its output counts in the difference that is explained."""


class TargetScore(Wire):
    """One explained class of one image."""

    index: int
    name: str | None
    output: float
    """The explained output of the image: logit, probability or log-probability; where the class is held against others,
    how far it stands above theirs."""
    sum: float
    """The sum of the map; it differs from output minus baseline output by the completeness error. Of a method with a
    map for each of several layers: that of the first layer it explains; `layers` has each layer's own."""
    against: list[HeldAgainst] = []
    """What the class is held against; empty where it is explained by itself."""
    baseline_output: float | None = None
    """The same for the baselines, averaged: what the map explains is the change from there. Null where the method
    compares with nothing."""

    @property
    def said(self) -> str:
        """What is explained, in words: `cat`, or `cat against dog`."""
        return f"{self._own} against {self._others}" if self.against else self._own

    @property
    def ends(self) -> tuple[str, str]:
        """What negative and positive values of its map speak for."""
        return (f"for {self._others}", f"for {self._own}") if self.against else ("against the class", "for the class")

    @property
    def _own(self) -> str:
        return self.name or str(self.index)

    @property
    def _others(self) -> str:
        return in_words([held.name or held.index for held in self.against])


class ArtifactRef(Wire):
    """One file of the result."""

    name: str
    image: int | None
    """Position of the image in the request."""
    target: int | None
    """Index of the explained class; null where all classes are compared."""
    layer: str | None = None
    channel: int | None = None
    """Of the map of a single neuron of the layer: which."""
    quantity: str
    """For example `attributions`, `heatmap`, `overlay`; `input` is the image as the network saw it."""
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
    smooth: float | None = None
    """Of a heatmap or overlay: the standard deviation, in pixels of the map, of the Gaussian that it is drawn with; 0
    where it is drawn as it is. The raw map is never smoothed."""
    frame: tuple[float, float, float, float] | None = None
    """Of a heatmap or overlay: left, top, right and bottom of the map in the PNG's pixels; null where it fills it."""
    units: Literal["placed", "stretched"] | None = None
    """Of a layer's overlay: whether each unit is drawn at the middle of what it sees, or the map is stretched over the
    image, since its units have no fixed place."""


class ImageHead(Wire):
    """What is known of every image."""

    index: int
    custom_id: str | None
    sha256: Sha256
    error: Problem | None = None
    """Why this image has no maps; the others are not affected."""
    original: list[int] | None = None
    """Height and width of the image as it was sent, upright by its EXIF orientation."""
    box: list[float] | None = None
    """The part of it that the network and the maps see: left, top, right and bottom in its pixels. Of a map of H x W
    pixels, that at row i and column j begins at top + i (bottom - top) / H and left + j (right - left) / W of it. Maps
    of layers lie by the `units` of `layers`."""
    prediction: list[ClassScore] = []
    """The five most probable classes."""
    label: ClassScore | None = None
    """The class that the image was said to have."""
    targets: list[TargetScore] = []
    warnings: list[ResultWarning] = []
    """Why to trust what follows less than it looks; empty where nothing speaks against it."""


class ImageResult(
    # In the reverse of the order in which they come in a result.
    RandomizationFigures,
    SensitivityFigures,
    LocalizationFigures,
    DeletionFigures,
    OcclusionFigures,
    HiddenPartsFigures,
    DecompositionFigures,
    InversionFigures,
    ActivationFigures,
    LayerFigures,
    MulticlassFigures,
    ConservationFigures,
    RegionFigures,
    SegmentFigures,
    SamplingFigures,
    CompletenessFigures,
    ImageHead,
):
    """What is known of one image."""

    artifacts: list[ArtifactRef] = []

    @property
    def judged(self) -> tuple[PatchDeletions | MapLocalization | MapSensitivity | MapRandomization, ...]:
        """The figures that have a sentence of each explained class."""
        return (*self.deletions, *self.localization, *self.sensitivity, *self.randomization)

    def units_of(self, file: ArtifactRef) -> UnitPlaces | None:
        """Where the values of one of its maps lie in the image as the network saw it; nothing where that is unknown.

        Of a map of pixels these are the pixels themselves, the first of which has its middle at 0.5.
        """
        size = next((one.shape for one in self.artifacts if one.quantity == "input"), None)
        if file.layer is None and file.shape is not None and file.shape[-2:] == size:
            return PIXELS
        return next((one.units for one in self.layers if file.layer in (None, one.layer)), None)


class ModelResult(VisualizationFigures, FilterFigures):
    """What a method that looks at no image says of a model."""

    warnings: list[ResultWarning] = []
    """Why to trust it less than it looks; empty where nothing speaks against it."""

    def sentences(self) -> Iterator[str]:
        """All of it in words."""
        if self.filters is not None:
            yield self.filters.sentence
        if self.visualized is not None:
            yield self.visualized.sentence


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
    missing: dict[str, str] = {}
    """Why figures of quality that were asked for are not there, by their fields."""


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
    checks_sha256: Sha256 | None = None
    """Digest of what was measured of the model (`checks` of its report)."""
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

    job: str | None
    """The job that computed it; null where the method does not apply to the model."""
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
    kind: Literal[
        "explain",
        "compare",
        "check",
        "ingest",
        "fit",
        "evaluate",
        "sweep",
        "ablate",
        "retrain",
        "maximal_patches",
        "representation_pca",
        "part_shape_texture",
        "strategies",
        "explain_data_set",
        "self_test",
    ]
    counts: Counts
    """Of a comparison: over all its cells."""
    images: list[ImageResult] = []
    cells: list[CellResult] = []
    """Of a comparison: its parts, explanations within models."""
    standings: list[MapStandings] = []
    """Of a comparison: how the maps of each image by one model stand to each other."""
    of_model: ModelResult | None = None
    """Of a method that looks at no image: what it says of the model; its files are in `artifacts`."""
    quality: Quality | None = None
    artifacts: list[ArtifactRef] = []
    """Files that belong to the job as a whole."""
    page: ArtifactRef | None = None
    """Every explanation on one page for a browser, where there are some; a file beside the others."""
    details: dict[str, Any] = {}
    """What a kind other than `explain` has to say."""
    provenance: Provenance

    def files(self) -> list[tuple[str, ArtifactRef]]:
        """Every file of the result with a name of its own; those of a comparison's cells begin with the cell's."""
        own = [*self.artifacts, *(file for image in self.images for file in image.artifacts)]
        of_cells = [
            (f"{cell.model.name}@{cell.model.version}-explanation-{cell.explanation}-{file.name}", file)
            for cell in self.cells
            for image in cell.images
            for file in image.artifacts
        ]
        names = FileNames("result.json")
        return [(names.own(name), file) for name, file in [*((file.name, file) for file in own), *of_cells]]
