"""What lies inside a classifier, and what a data set says of it: jobs without a picture to explain."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import Progress, TaskID

from attribution_client import Client
from attribution_contracts.jobs import Job
from cli.demo.exhibits import Exhibit

TIMEOUT_S = 600.0


class Look(NamedTuple):
    """One question, and the picture that answers it."""

    title: str
    question: str
    guide: str
    """The page of the documentation."""
    quantity: str
    """What the picture is called in the result; of several the first is shown."""
    asked: dict[str, Any]
    """Fields of the request, beside the model."""

    @property
    def needs_data_set(self) -> bool:
        """Whether it is a task over a data set."""
        return "task" in self.asked


LOOKS: dict[str, Look] = {
    "first_layer_filters": Look(
        "First-layer filters",
        "What does the network look for in the pixels themselves? Grey is zero, bright adds and dark subtracts.",
        "docs/methods/first_layer_filters.md",
        "filter_grid",
        {"explanation": {"method": "first_layer_filters", "scale": "own"}},
    ),
    "maximal_patches": Look(
        "Maximal patches",
        "Which images of the data set excite feature maps of the last layer with places most, which part of each do "
        "they see, and which pixels does that come from?",
        "docs/methods/maximal_patches.md",
        "patches",
        {"task": {"task": "maximal_patches", "n_channels": 6, "n_images": 6}},
    ),
    "representation_pca": Look(
        "Principal components of representations",
        "How does the last layer with places arrange the images? points.html, beside the picture, shows each one that "
        "is pointed at.",
        "docs/methods/representation_pca.md",
        "scatter",
        {"task": {"task": "representation_pca", "n_pictures": 100}},
    ),
    "strategies": Look(
        "Strategies",
        "In how many ways does the classifier decide for a class? A row each: where its maps are strong, and the "
        "images closest to its centre with their maps.",
        "docs/methods/strategies.md",
        "class_strategies",
        {"task": {"task": "strategies", "classes": [0, 1, 2], "n_examples": 5}},
    ),
}


class Asked(NamedTuple):
    """A look that waits for a worker, or runs."""

    key: str
    job: str
    bar: TaskID


class Looked(NamedTuple):
    """A look that was answered."""

    look: Look
    exhibit: Exhibit
    picture: Path


def asked_looks(client: Client, exhibit: Exhibit, *, has_data_set: bool, progress: Progress) -> list[Asked]:
    """Submits those that need a data set, or those that need none."""
    model = f"{exhibit.spec.name}@{exhibit.spec.version}"
    asked = []
    for key, look in LOOKS.items():
        if look.needs_data_set == has_data_set:
            bar = progress.add_task(f"{look.title.lower()}: {exhibit.name}", total=None)
            data = {"dataset": f"{exhibit.name}@{exhibit.spec.version}"} if has_data_set else {}
            asked.append(Asked(key, client.submit({"model": model, **data, **look.asked}).id, bar))
    return asked


def looked(client: Client, exhibit: Exhibit, asked: Asked, folder: Path, show: Callable[[TaskID, Job], None]) -> Looked:
    """Waits for one, and writes its files to the folder."""
    client.wait(asked.job, progress=lambda job: show(asked.bar, job), timeout=TIMEOUT_S)
    result, own = client.result(asked.job), folder / exhibit.name / asked.key
    client.download(result, own)
    look = LOOKS[asked.key]
    first = next(file for file in result.artifacts if file.quantity == look.quantity)
    return Looked(look, exhibit, own / first.name)
