"""One explanation's work as it goes on: of a job's images, of a part of a data set, or of the model alone."""

from collections.abc import Callable
from dataclasses import dataclass, field

from attribution.errors import AttributionError
from attribution_contracts.baselines import SetBaseline
from attribution_contracts.digests import canonical_digest
from attribution_contracts.methods import Explanation
from attribution_contracts.quality import QualityOptions
from attribution_contracts.results import Provenance
from storage.ledger.records import Claim
from workers.context import WorkerContext
from workers.errors import problem_of
from workers.explaining.done import Done
from workers.jobs.provenance import Stopwatch, provenance
from workers.jobs.tracking import Tracker
from workers.methods.baselines import Row
from workers.models.inputs import Loaded, Photographs, Refused
from workers.problems import WorkProblem

_EXPLAINING, _DRAWING = 100, 25
"""Steps of an image in the progress of a job."""


@dataclass
class Running:
    """One job's work as it goes on."""

    context: WorkerContext
    claimed: Claim
    tracker: Tracker
    params: Explanation
    quality: QualityOptions
    """What is measured of the maps."""
    images: int
    """How many it is over; one where it is over the model alone."""
    loaded: Loaded
    clock: Stopwatch
    photographs: Photographs
    done: list[Done] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    chunk_size: int | None = None
    peak_bytes: int | None = None
    missing: dict[str, str] = field(default_factory=dict)
    """Why figures that were asked for are not there."""
    shown: int = 0
    """Steps that were reported."""
    handed: int = 0
    """Images that have ended and are no longer held."""

    def report(self, images: float, stage: str, drawn: float = 0.0) -> None:
        """Shows how many images are explained and drawn, and raises once the job must stop.

        No stage takes back what an earlier one has shown.
        """
        self.shown = max(self.shown, int(_EXPLAINING * images) + int(_DRAWING * drawn))
        self.tracker.report(self.shown, steps_of(self.images), stage)

    def decoding(self, _images: float) -> None:
        """Shows that the job is alive: an image that is read is not explained yet."""
        self.report(self.ended, "decoding")

    def drawing(self, done: int, total: int) -> None:
        """Shows how many files are drawn, once all images are explained."""
        self.report(self.images, "drawing", self.images * done / max(total, 1))

    def refuse(self, row: Row, error: AttributionError | WorkProblem) -> None:
        """Notes why an image has no maps."""
        self.refused.append(Refused(row.position, row.given, row.sha256, problem_of(error, row.sha256)))

    @property
    def ended(self) -> int:
        """How many images are explained or refused."""
        return self.handed + len(self.done) + len(self.refused)

    def hand_over(self) -> tuple[list[Done], list[Refused]]:
        """What has ended since the last time, which is then no longer held."""
        self.handed = self.ended
        found = self.done, self.refused
        self.done, self.refused = [], []
        return found


def steps_of(images: int) -> int:
    """What the progress of a job counts up to."""
    return (_EXPLAINING + _DRAWING) * images


def progress_of(job: Running, images: int, stage: str) -> Callable[[int, int], None]:
    """What shows how far some images are, or the model, in steps of a method."""
    before = job.ended

    def progress(done: int, total: int) -> None:
        job.report(before + max(1, images) * done / max(total, 1), stage)

    return progress


def provenance_of(job: Running) -> Provenance:
    """Where its result comes from."""
    return provenance(
        job.context,
        job.claimed,
        method=job.params.method,
        version=job.params.version,
        parameters=job.params.filled(),
        backgrounds=_backgrounds(job),
        checks_sha256=job.loaded.checks_sha256,
        seconds=job.clock.seconds,
    )


def _backgrounds(job: Running) -> dict[str, str]:
    """The digests of the sets that the method compared with."""
    given = [*(getattr(job.params, "baselines", None) or []), getattr(job.params, "compared_with", None)]
    named = [one.name for one in given if isinstance(one, SetBaseline)]
    return {name: canonical_digest(job.loaded.spec.backgrounds[name]) for name in named}
