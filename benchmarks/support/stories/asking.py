"""What every story asks of the service: registering a classifier, a fit, an explanation."""

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from PIL import Image
from support.stories.exhibits import Exhibit, Picture

from attribution_client import Client
from attribution_contracts.jobs import Job
from attribution_contracts.methods import METHODS
from attribution_contracts.models import ModelReport
from attribution_contracts.results import ArtifactRef, ImageResult, Result

LONGEST_S = 3600.0


@dataclass(frozen=True)
class Asked:
    """A service that stories ask, and where progress is told."""

    client: Client
    told: TextIO
    methods: list[str] | None = None
    exhibits: list[str] | None = None
    """Of both all that there are unless told."""

    def register(self, exhibit: Exhibit) -> ModelReport:
        """What the check of its classifier found."""
        self.client.register_model(exhibit.spec, weights=exhibit.weights)
        version = self.client.wait_for_model(_model(exhibit), timeout=LONGEST_S)
        if version.error is not None:
            raise RuntimeError(f"{_model(exhibit)} was refused: {version.error.detail}")
        return self.client.model_report(_model(exhibit))

    def fit(self, exhibit: Exhibit) -> str:
        """The digest of the features that decide its classes, found on its lessons."""
        if exhibit.lessons is None:
            raise ValueError(f"{exhibit.name} has no lessons to fit on")
        name, version = exhibit.name, "1"
        self.client.register_dataset(name, exhibit.lessons(), version=version)
        self.client.wait_for_dataset(f"{name}@{version}", timeout=LONGEST_S)
        job = self.client.submit(model=_model(exhibit), dataset=f"{name}@{version}", task={"task": "fit"})
        self._followed(job, f"{name}: fit")
        fit: str = self.client.result(job.id).details["report"]["fit"]
        return fit

    def explained(self, exhibit: Exhibit, what: str, **fields: Any) -> tuple[Result, float]:
        """The result of a job on all pictures of an exhibit, and the seconds that it took."""
        return self._answered(exhibit, what, model=_model(exhibit), **fields)

    def compared(self, exhibits: list[Exhibit], what: str, **fields: Any) -> tuple[Result, float]:
        """The same side by side for the classifiers of several exhibits, on the pictures of the first."""
        return self._answered(exhibits[0], what, models=[_model(exhibit) for exhibit in exhibits], **fields)

    def _answered(self, exhibit: Exhibit, what: str, **fields: Any) -> tuple[Result, float]:
        start = time.perf_counter()
        inputs = [_input(picture) for picture in exhibit.pictures]
        images = [picture.content for picture in exhibit.pictures]
        job = self.client.submit(inputs=inputs, images=images, **fields)
        self._followed(job, f"{exhibit.name}: {what}")
        return self.client.result(job.id), round(time.perf_counter() - start, 1)

    def picture(self, reference: ArtifactRef) -> Image.Image:
        """A picture of a result."""
        return Image.open(io.BytesIO(self.client.artifact(reference)))

    def save(self, reference: ArtifactRef, path: Path) -> str:
        """Writes a file of a result, and names it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.client.artifact(reference))
        return str(path)

    def _followed(self, job: Job, what: str) -> None:
        def show(now: Job) -> None:
            self.told.write(f"\r\x1b[K{what}: {now.status}, {now.progress.done} of {now.progress.total}")
            self.told.flush()

        self.client.wait(job.id, progress=show, timeout=LONGEST_S)
        self.told.write("\r\x1b[K")


def explanation(method: str, exhibit: Exhibit, **more: Any) -> dict[str, Any]:
    """What is asked of a method: its defaults, with the exhibit's baseline."""
    compares = "baselines" in METHODS[method].model_fields and method != "multiclass_importance"
    return {"method": method, **({"baselines": [exhibit.baseline]} if compares else {}), **more}


def told(image: ImageResult) -> dict[str, Any]:
    """The figures of one image for a line."""
    best = image.prediction[0]
    figures: dict[str, Any] = {"prediction": best.name, "probability": round(best.probability, 4)}
    if image.label is not None:
        figures["label"] = image.label.name
        figures["label_probability"] = round(image.label.probability, 4)
    for target in image.targets[:1]:
        figures |= {"explained": target.said, "output": round(target.output, 4), "sum": round(target.sum, 4)}
    for gap in image.completeness[:1]:
        figures["missed"] = None if gap.relative is None else round(abs(gap.relative), 5)
    return figures | {"warnings": [warning.code for warning in image.warnings]}


def _model(exhibit: Exhibit) -> str:
    return f"{exhibit.spec.name}@{exhibit.spec.version}"


def _input(picture: Picture) -> dict[str, str]:
    return {"custom_id": picture.name} | ({"label": picture.label} if picture.label else {})
