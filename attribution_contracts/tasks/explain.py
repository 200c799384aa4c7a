"""A map of every image of a data set, and a row of figures about each."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from attribution_contracts.base import Wire
from attribution_contracts.methods import Explanation
from attribution_contracts.quality import QualityOptions, wrong_quality
from attribution_contracts.states import JobKind
from attribution_contracts.tasks.base import DataTask

Kept = Literal["summed", "channels", "none"]
Ranking = Literal["probability", "completeness", "deletions"]

MOST_PART_BYTES = 256 * 1024 * 1024
"""Of the maps of one part, which a worker holds at once."""
MOST_JOINED_BYTES = 1024 * 1024 * 1024
"""Of all maps in one file."""


class ExplainTask(DataTask):
    """A map of every image of a data set by any method, and a row of figures about each."""

    kind = JobKind.EXPLAIN_DATA_SET

    task: Literal["explain"]
    explanation: Explanation
    """The method and its parameters, as of a job of images; baselines are such as need no image, or named sets of the
    model."""
    quality: QualityOptions = QualityOptions()
    """Figures about the maps that are to be taken."""
    maps: Kept = "summed"
    """What is kept of each map: its sum over the channels, all channels, or nothing."""
    heatmaps: bool = False
    """Also all maps in the order of the data set as one array, `heatmaps.npy`, with the classes in `labels.npy`."""
    side: Annotated[int, Field(ge=2, le=16, strict=True)] = 8
    """Cells along each side of the map's summary in the row: where it is strong, coarsely."""
    ranked_by: Ranking | None = None
    """What makes cases worst and best: the probability of the image's own class, the completeness error, or the rank
    correlation with single deletions; the last where it is asked for, else the first, unless told."""
    n_cases: Annotated[int, Field(ge=0, le=32, strict=True)] = 8
    """Worst and best cases on the sheet, of each."""

    @property
    def method(self) -> str:
        """The method of the explanation."""
        return self.explanation.method

    @property
    def versions(self) -> tuple[int, ...]:
        """Of the procedure and of the method."""
        return (self.version, self.explanation.version)

    @property
    def uses(self) -> tuple[str, ...]:
        """The method, and those whose rules it follows."""
        return (self.explanation.method, *self.explanation.also_uses)

    @property
    def ranking(self) -> Ranking:
        """What cases are ordered by."""
        if self.ranked_by is not None:
            return self.ranked_by
        return "probability" if self.quality.deletions is None else "deletions"

    @model_validator(mode="after")
    def _require_maps_of_images(self) -> "ExplainTask":
        explanation = self.explanation
        if explanation.takes != "images" or not explanation.takes_model or not explanation.makes_maps:
            raise ValueError(
                f"explanation.method is {explanation.method}, which makes no maps of images: a data set is explained by"
                " a method that does, as integrated_gradients or lrp"
            )
        if self.quality.localization is not None:
            raise ValueError("the images of a data set come with no mask or boxes: leave quality.localization out")
        if (wrong := wrong_quality(self.quality, [explanation])) is not None:
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _require_what_is_shown(self) -> "ExplainTask":
        if self.heatmaps and self.maps == "none":
            raise ValueError('heatmaps: all maps in one file are asked for, and maps is "none": keep them, or leave it')
        if self.ranked_by == "deletions" and self.quality.deletions is None:
            raise ValueError("ranked_by is deletions: ask for quality.deletions as well")
        return self


class Case(Wire):
    """An image among the worst or best."""

    image: str
    """Its name in the data set."""
    label: int
    prediction: int
    probability: float
    """Of the image's own class."""
    value: float
    """What cases are ordered by."""


class FigureSummary(Wire):
    """A figure of the rows over all images that have it."""

    name: str
    """Of the column."""
    images: int
    mean: float
    std: float | None
    """The standard deviation between images; null of one alone."""
    least: float
    most: float


class ExplainedClass(Wire):
    """The images of one class."""

    index: int
    name: str | None = None
    images: int
    """That were explained."""
    right: float
    """Share of them that the classifier gives their label."""


class NotExplained(Wire):
    """An image without a map."""

    image: str
    code: str
    detail: str


class ExplainReport(Wire):
    """What a data set's explanation found; the rows are in the artefact."""

    method: str
    images: int
    explained: int
    failed: int
    errors: list[NotExplained] = []
    """The first images without a map; the rows have all of them."""
    accuracy: float
    """Share of the explained images that the classifier gives their label."""
    maps: list[str]
    """Names of the arrays in each part's file of maps; the first stands for the method."""
    ranked_by: Ranking
    worst: list[Case]
    best: list[Case]
    figures: list[FigureSummary]
    by_class: list[ExplainedClass]
    missing: dict[str, str] = {}
    """Why figures that were asked for are not there."""
