"""What is shown: pictures, their truth, and the classifier that looks at them."""

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attribution_contracts.models import ModelSpec
from attribution_contracts.version import VERSION
from cli.demo import digits, planted
from cli.demo.pictures import png

Progress = Callable[[int, int], None]
LESSONS = 300
"""Images of an exhibit's data set."""


class Picture(NamedTuple):
    """One image and what is known of it."""

    name: str
    """Without suffix, as in `0-seven`."""
    content: bytes
    label: str
    evidence: NDArray[np.bool_] | None
    """`(height, width)`: the pixels that tell the classes apart, where that is known."""


class Exhibit(NamedTuple):
    """Pictures of one kind, and how their classifier is registered."""

    name: str
    title: str
    text: str
    spec: ModelSpec
    weights: Path
    pictures: list[Picture]
    baseline: dict[str, Any]
    """What methods that need a baseline compare with, as the service takes it."""
    reference: str
    """The same in words."""
    lessons: Callable[[], bytes]
    """Some of what the classifier learned from, as a NumPy archive of images and class names."""
    shows: tuple[str, ...] = ()
    """What is shown of it, by key of what the demonstration asks for; every part unless told."""
    is_sample: bool = True
    """Whether its pictures come as they are, so that it means something how many are classified correctly."""


def digits_exhibit(cache: Path, progress: Progress) -> Exhibit:
    """One held-out digit of each class; the classifier is trained where the folder does not hold it yet."""
    weights = cache / f"digits-{VERSION}.safetensors"
    if not weights.exists():
        _train_digits(weights, progress)
    held_out = digits.held_out()
    labels = digits.SPEC.labels
    first = [int(np.argmax(held_out.labels == number)) for number in range(len(labels))]
    return Exhibit(
        name="digits",
        title="Handwritten digits",
        text=(
            "Real digits that people wrote, held out from training. The classifier, a small convolutional network, "
            "learned 1,437 others a moment ago or on an earlier run."
        ),
        spec=_versioned(digits.SPEC, weights),
        weights=weights,
        pictures=[
            Picture(f"{number}-{label}", png(held_out.images[index]), label, None)
            for number, (label, index) in enumerate(zip(labels, first, strict=True))
        ],
        baseline={"kind": "black"},
        reference="a black image",
        lessons=_digit_lessons,
    )


def mistakes_exhibit(exhibit: Exhibit, count: int = 4) -> Exhibit | None:
    """Held-out digits that the classifier of the digits gets wrong; nothing where there are none."""
    held_out, labels = digits.held_out(), digits.SPEC.labels
    wrong = digits.mistakes(exhibit.weights)[:count]
    if not wrong:
        return None
    return exhibit._replace(
        name="mistakes",
        title="Digits that the classifier gets wrong",
        text="Of the 360 digits that were held out, some that the same classifier takes for another.",
        pictures=[
            Picture(
                f"{place}-{labels[held_out.labels[index]]}",
                png(held_out.images[index]),
                labels[held_out.labels[index]],
                None,
            )
            for place, index in enumerate(wrong)
        ],
        shows=("why_wrong",),
        is_sample=False,
    )


def planted_exhibit(count: int = 6) -> Exhibit:
    """Pictures whose evidence is known, half of them of each class."""
    labels = planted.SPEC.labels
    samples = [planted.sample(planted.HELD_OUT_FROM + index) for index in range(4 * count)]
    by_class = [[sample for sample in samples if sample.label == number] for number in range(len(labels))]
    chosen = [by_class[number % len(labels)][number // len(labels)] for number in range(count)]
    return Exhibit(
        name="planted",
        title="Pictures with planted evidence",
        text=(
            "Generated pictures that differ in one thing alone: the texture of a disc, striped or chequered. "
            "So it is known where a good map must look, and each map is scored: the share of its positive "
            "values that lies inside the disc (outlined below), beside the share of the picture that the disc covers."
        ),
        spec=_versioned(planted.SPEC, planted.WEIGHTS),
        weights=planted.WEIGHTS,
        pictures=[
            Picture(f"{number}-{labels[sample.label]}", png(sample.image), labels[sample.label], sample.evidence)
            for number, sample in enumerate(chosen)
        ],
        baseline={"kind": "blur"},
        reference="the same picture blurred, which has the colours but no texture",
        lessons=_planted_lessons,
    )


def _digit_lessons() -> bytes:
    learned = digits.training()
    return _archive(learned.images[:LESSONS], [digits.SPEC.labels[label] for label in learned.labels[:LESSONS]])


def _planted_lessons() -> bytes:
    samples = [planted.sample(index) for index in range(LESSONS)]
    return _archive(np.stack([one.image for one in samples]), [planted.SPEC.labels[one.label] for one in samples])


def _archive(images: NDArray[np.uint8], labels: list[str]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, images=images, labels=np.array(labels))
    return buffer.getvalue()


def _versioned(spec: ModelSpec, weights: Path) -> ModelSpec:
    """The specification with a version named after the weights: other weights never meet a version that is taken."""
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return spec.model_copy(update={"version": f"demo-{digest[:8]}"})


def _train_digits(weights: Path, progress: Progress) -> None:
    from cli.demo.training import save

    weights.parent.mkdir(parents=True, exist_ok=True)
    unfinished = weights.with_suffix(f".{os.getpid()}")
    save(digits.train(progress=progress).module, unfinished)
    unfinished.replace(weights)
