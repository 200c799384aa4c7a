"""The demonstration itself: everything goes over HTTP, as any other client's work does."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, TaskID

from attribution_client import Client
from attribution_contracts.figures.completeness import Completeness
from attribution_contracts.jobs import Job
from attribution_contracts.methods import METHODS
from attribution_contracts.results import ArtifactRef, ImageResult, Result
from cli.demo.engines import PARTS, RENDER, SHOWN, SIDE_BY_SIDE, explanation_of
from cli.demo.exhibits import Exhibit, Picture, digits_exhibit, mistakes_exhibit, planted_exhibit
from cli.demo.looks import Looked, asked_looks, looked
from cli.demo.scores import EvidenceScore, evidence_score

CHECK_TIMEOUT_S = 120.0
JOB_TIMEOUT_S = 600.0
TOGETHER = 2
"""Pictures that every method explains."""


class Explained(NamedTuple):
    """A picture and what the service says of it."""

    picture: Picture
    original: Path
    image: ImageResult
    files: dict[tuple[str | None, str], Path]
    """By what a picture shows and how, as in `("std", "heatmap")`; raw maps by nothing and their quantity."""
    evidence: EvidenceScore | None

    @property
    def is_right(self) -> bool:
        """Whether the classifier chose the true label."""
        return bool(self.image.prediction) and self.image.prediction[0].name == self.picture.label

    @property
    def completeness(self) -> Completeness | None:
        """The error of the map, where the method states one."""
        return self.image.completeness[0] if self.image.completeness else None

    def reference(self, of: str) -> ArtifactRef | None:
        """The heatmap of a quantity, with its colours and range."""
        found = (item for item in self.image.artifacts if (item.of, item.quantity) == (of, "heatmap"))
        return next(found, None)


class Section(NamedTuple):
    """One method, or one question, on one exhibit."""

    exhibit: Exhibit
    method: str
    """Its key among what the demonstration shows."""
    job: Job
    result: Result
    pictures: list[Explained]
    asked: dict[str, Any]
    """The `explanation` of the request, or its `explanations`."""


class Demonstration(NamedTuple):
    """All that is shown."""

    sections: list[Section]
    looks: list[Looked]


def run(url: str, folder: Path, cache: Path, progress: Progress) -> Demonstration:
    """Registers the classifiers, explains every exhibit by every method, looks inside one, and writes all files."""
    learning = progress.add_task("learning digits", total=None)
    planted = planted_exhibit()
    with Client(url) as client:
        checking = progress.add_task("registering classifiers", total=None)
        client.register_model(planted.spec, weights=planted.weights)  # it is checked while the digits are learnt
        of_digits = digits_exhibit(cache, _told(progress, learning))
        progress.update(learning, total=1, completed=1)
        exhibits = [one for one in (of_digits, mistakes_exhibit(of_digits), planted) if one is not None]
        progress.update(checking, total=len(exhibits))
        for exhibit in exhibits[:-1]:
            client.register_model(exhibit.spec, weights=exhibit.weights)
        for exhibit in exhibits:
            _require_sound(client, exhibit)
            progress.advance(checking)
        offered = {method.id for method in client.methods()}
        keys = [key for key, engine in SHOWN.items() if key == SIDE_BY_SIDE or (engine.method or key) in offered]
        shown = [(exhibit, key) for exhibit in exhibits for key in exhibit.shows or PARTS if key in keys]
        fitted = {exhibit.name: exhibit for exhibit, key in shown if _needs_fit(key)}
        for exhibit in fitted.values():
            client.register_dataset(exhibit.name, exhibit.lessons(), version=exhibit.spec.version)

        def submitted(needs_fit: bool, fits: dict[str, str]) -> dict[tuple[str, str], _Submitted]:
            return {
                (exhibit.name, key): _submitted(client, exhibit, key, fits.get(exhibit.name), folder, progress)
                for exhibit, key in shown
                if _needs_fit(key) == needs_fit
            }

        # What can wait in the queue is put there at once, so that no worker idles while results are fetched.
        asked = submitted(False, {})
        looks = asked_looks(client, of_digits, has_data_set=False, progress=progress)
        fitting = {name: _submitted_fit(client, exhibit, progress) for name, exhibit in fitted.items()}
        if of_digits.name in fitted:  # its data set is there
            looks += asked_looks(client, of_digits, has_data_set=True, progress=progress)
        asked |= submitted(True, {name: _finished_fit(client, *job, progress) for name, job in fitting.items()})
        sections = [_section(client, asked[exhibit.name, key], folder, progress) for exhibit, key in shown]
        return Demonstration(
            sections, [looked(client, of_digits, one, folder, partial(_show, progress)) for one in looks]
        )


def _needs_fit(key: str) -> bool:
    """Whether it asks for a method, among others or alone, that needs the features that decide each class."""
    return key == SIDE_BY_SIDE or SHOWN[key].has_fit


def _require_sound(client: Client, exhibit: Exhibit) -> None:
    spec = exhibit.spec
    version = client.wait_for_model(f"{spec.name}@{spec.version}", timeout=CHECK_TIMEOUT_S)
    if version.error is not None:
        raise click.ClickException(
            f"{spec.name}@{spec.version} was refused: {version.error.detail}. "
            f"Its weights are in {exhibit.weights}: remove the file if it is damaged"
        )


class _Submitted(NamedTuple):
    """A job that waits for a worker, or runs."""

    exhibit: Exhibit
    method: str
    job: str
    originals: list[Path]
    asked: dict[str, Any]
    bar: TaskID


def _submitted_fit(client: Client, exhibit: Exhibit, progress: Progress) -> tuple[str, TaskID]:
    """A job that finds the features that decide each class, on a data set of what the classifier learned."""
    bar = progress.add_task(f"data set and fit: {exhibit.name}", total=None)
    version = exhibit.spec.version
    client.wait_for_dataset(f"{exhibit.name}@{version}", timeout=CHECK_TIMEOUT_S)
    submitted = client.submit(
        model=f"{exhibit.spec.name}@{version}", dataset=f"{exhibit.name}@{version}", task={"task": "fit"}
    )
    return submitted.id, bar


def _finished_fit(client: Client, job: str, bar: TaskID, progress: Progress) -> str:
    """The digest of the features, once they are found."""
    client.wait(job, progress=lambda now: _show(progress, bar, now), timeout=JOB_TIMEOUT_S)
    fit: str = client.result(job).details["report"]["fit"]
    progress.update(bar, total=1, completed=1)
    return fit


def _submitted(
    client: Client, exhibit: Exhibit, method: str, fit: str | None, folder: Path, progress: Progress
) -> _Submitted:
    asked = _asked(client, exhibit, method, fit)
    shown = exhibit.pictures[:TOGETHER] if method == SIDE_BY_SIDE else exhibit.pictures
    originals = _write_originals(exhibit, folder / exhibit.name)[: len(shown)]
    bar = progress.add_task(f"{SHOWN[method].title.lower()}: {exhibit.name}", total=None)
    submitted = client.submit(
        model=f"{exhibit.spec.name}@{exhibit.spec.version}",
        inputs=[{"label": picture.label} for picture in shown],
        images=originals,
        **asked,
        render=RENDER,
        labels={"exhibit": exhibit.name},
        is_fresh=True,
    )
    return _Submitted(exhibit, method, submitted.id, originals, asked, bar)


def _section(client: Client, submitted: _Submitted, folder: Path, progress: Progress) -> Section:
    """Waits for a job, and writes its files to the folder."""
    exhibit, method, number, originals, asked, bar = submitted
    folder = folder / exhibit.name / method
    job = client.wait(number, progress=lambda now: _show(progress, bar, now), timeout=JOB_TIMEOUT_S)
    result = client.result(job.id)
    progress.update(bar, total=len(originals), completed=len(originals))
    shutil.rmtree(folder, ignore_errors=True)  # maps of an earlier run, which may show other classes
    client.download(result, folder)
    pictures = zip(exhibit.pictures[: len(originals)], originals, _images(result), strict=True)
    scored = SHOWN[method].shown[0].of
    return Section(exhibit, method, job, result, [_explained(*each, folder, scored) for each in pictures], asked)


def _asked(client: Client, exhibit: Exhibit, method: str, fit: str | None) -> dict[str, Any]:
    """One explanation, or those by every method that applies to the classifier."""
    if method != SIDE_BY_SIDE:
        return {"explanation": SHOWN[method].explanation(method, exhibit, fit)}
    found = client.model_report(f"{exhibit.spec.name}@{exhibit.spec.version}").methods
    names = [name for name, one in found.items() if one.applies and METHODS[name].makes_maps]
    return {"explanations": [explanation_of(name, exhibit, fit) for name in names]}


def _images(result: Result) -> list[ImageResult]:
    """The images; of several explanations with what the first says of them, and the sheets of all."""
    if not result.cells:
        return result.images
    return [
        image.model_copy(
            update={
                "completeness": [],
                "artifacts": [file for file in result.artifacts if file.image == image.index],
            }
        )
        for image in result.cells[0].images
    ]


def _write_originals(exhibit: Exhibit, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{picture.name}.png" for picture in exhibit.pictures]
    for path, picture in zip(paths, exhibit.pictures, strict=True):
        path.write_bytes(picture.content)
    return paths


def _explained(picture: Picture, original: Path, image: ImageResult, maps: Path, scored: str | None) -> Explained:
    files = {(reference.of, reference.quantity): maps / reference.name for reference in image.artifacts}
    raw = files.get((None, scored)) if scored else None
    score = _score(np.load(raw), picture) if raw else None
    return Explained(picture, original, image, files, score)


def _score(values: NDArray[np.float32], picture: Picture) -> EvidenceScore | None:
    """How much of a map lies on the evidence; maps of a layer are coarser than that, and not scored."""
    evidence = picture.evidence
    return None if evidence is None or values.shape[-2:] != evidence.shape else evidence_score(values, evidence)


def _show(progress: Progress, bar: TaskID, job: Job) -> None:
    progress.update(bar, completed=job.progress.done, total=job.progress.total or None)


def _told(progress: Progress, bar: TaskID) -> Callable[[int, int], None]:
    return lambda done, total: progress.update(bar, completed=done, total=total)
