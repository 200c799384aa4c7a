"""One image of a job as the methods see it, and its baselines."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from attribution import baselines
from attribution_contracts.baselines import (
    BackgroundBaseline,
    Baseline,
    BlackBaseline,
    BlurBaseline,
    ImageBaseline,
    MeanBaseline,
    SetBaseline,
    WhiteBaseline,
    ZeroBaseline,
)
from attribution_contracts.hints import in_words
from attribution_contracts.images import ImageRef
from attribution_contracts.jobs import InputImage
from attribution_contracts.models import Preprocessing
from attribution_contracts.targets import Target
from workers.images.preprocessing import View


class Row(NamedTuple):
    """One decoded image of a job."""

    position: int
    """In the request."""
    given: InputImage
    sha256: str
    inputs: Tensor
    """`(channels, height, width)`, normalised, on the device."""
    displayed: Image.Image
    """What the network sees, before normalisation."""
    view: View
    """Which part of the photograph that is."""
    target: Target | None
    """Nothing where the method compares classes instead."""
    preprocessing: Preprocessing
    seed: int
    """The job's seed."""
    backgrounds: Mapping[str, Sequence[str]]
    """The model's named sets of images, as digests."""
    fetch: Callable[[ImageRef], Tensor]
    """Another image of the request, preprocessed like this one."""
    evidence: Tensor | None = None
    """Where the evidence is said to be, `bool (height, width)`."""

    @property
    def true_class(self) -> int | None:
        """The class that the image was said to have: names were turned into indices when the job was accepted."""
        return self.given.label if isinstance(self.given.label, int) else None

    @property
    def picture(self) -> NDArray[np.float64]:
        """What the network sees before normalisation, `(height, width, 3)` with values between 0 and 1."""
        return np.asarray(self.displayed.convert("RGB"), dtype=np.float64) / 255

    def generator(self, purpose: str = "") -> torch.Generator:
        """Randomness from the job's seed and the image's bytes, so that the batch does not matter."""
        return generator_of(self.seed, self.sha256, purpose)


def generator_of(seed: int, sha256: str, purpose: str) -> torch.Generator:
    """Randomness from a job's seed and the bytes of an image, given by their digest."""
    digest = hashlib.sha256(f"{seed}:{sha256}:{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def baselines_of(rows: Sequence[Row], chosen: Sequence[Baseline]) -> list[Tensor]:
    """The baselines of a batch, each `(1 | batch, channels, height, width)`, to be averaged.

    A baseline that an image brings along stands for all that the method names.
    """
    inputs = torch.stack([row.inputs for row in rows])
    if rows[0].given.baseline is not None:
        return [torch.stack([row.fetch(row.given.baseline) for row in rows if row.given.baseline is not None])]
    return [tensor for baseline in chosen for tensor in tensors_of(baseline, inputs, rows)]


def fill_of(row: Row, chosen: Sequence[Baseline]) -> str:
    """What the same baselines of an image are, in words."""
    if row.given.baseline is not None:
        return "the baseline that the image brings along"
    return in_words([baseline.said for baseline in chosen]) + (", averaged" if len(chosen) > 1 else "")


def pixel_range(row: Row) -> float:
    """The distance from black to white in units of the network's input, the mean over channels."""
    std = row.preprocessing.std
    return sum(1 / deviation for deviation in std) / len(std)


def tensors_of(baseline: Baseline, inputs: Tensor, rows: Sequence[Row]) -> list[Tensor]:
    """A baseline as tensors, each `(1 | batch, channels, height, width)`."""
    if isinstance(baseline, ImageBaseline | BackgroundBaseline | SetBaseline):
        return [rows[0].fetch(image)[None] for image in _images(baseline, rows[0])]
    mean, std = (
        numbers * inputs.shape[1] if len(numbers) == 1 else numbers
        for numbers in (rows[0].preprocessing.mean, rows[0].preprocessing.std)
    )
    match baseline:
        case ZeroBaseline():
            return [baselines.zero(inputs)]
        case BlackBaseline():
            return [baselines.black(inputs, mean, std)]
        case WhiteBaseline():
            return [baselines.white(inputs, mean, std)]
        case MeanBaseline():
            return [baselines.mean(inputs)]
        case BlurBaseline(sigma=sigma):
            return [baselines.blur(inputs, sigma)]
    generators = [row.generator("uniform baseline") for row in rows]
    return [baselines.uniform(inputs, mean, std, generator=generators) for _ in range(baseline.n_samples)]


def _images(baseline: ImageBaseline | BackgroundBaseline | SetBaseline, row: Row) -> list[ImageRef]:
    if isinstance(baseline, SetBaseline):
        return [ImageRef(image=digest) for digest in row.backgrounds[baseline.name]]
    return [baseline.image] if isinstance(baseline, ImageBaseline) else baseline.images
