"""Classifiers, their pictures and what they learnt, as the stories of `stories.py` tell of them."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from support.classifiers import MEAN, STD

from attribution_contracts.models import ModelSpec, Preprocessing, Weights
from cli.demo import exhibits as demo
from cli.demo import planted_vit
from cli.demo.exhibits import Picture
from cli.demo.pictures import png
from workers.images.decoding import decode
from workers.images.preprocessing import preprocess

IMAGENET = Preprocessing(size=(224, 224), resize=256, mean=MEAN, std=STD)
BLURRED = {"kind": "blur"}
FACES = 60
"""Of the test part of FER-2013."""


class Exhibit(NamedTuple):
    """A classifier and pictures that it looks at."""

    name: str
    spec: ModelSpec
    weights: Path
    pictures: list[Picture]
    baseline: dict[str, Any]
    """What methods that need one compare with."""
    lessons: Callable[[], bytes] | None = None
    """Images with the names of their classes, as a NumPy archive, for the fit of decomposition."""


def owned(cache: Path, count: int) -> Iterator[Exhibit]:
    """What lies in the repository or is made by it: digits, planted evidence by a CNN and by a transformer."""
    digits = demo.digits_exhibit(cache, lambda _done, _total: None)
    evidence = demo.planted_exhibit(count)
    for found in (digits, evidence):
        yield Exhibit(found.name, found.spec, found.weights, found.pictures[:count], found.baseline, found.lessons)
    pictures = evidence.pictures[:count]
    yield Exhibit("planted-vit", planted_vit.SPEC, planted_vit.WEIGHTS, pictures, BLURRED, evidence.lessons)


def photographs(data: Path) -> Iterator[Exhibit]:
    """Photographs of scikit-image by the ImageNet classifiers of the development data."""
    from skimage import data as skimage

    images = {"cat": skimage.chelsea(), "coffee": skimage.coffee()}
    pictures = [Picture(name, png(image), "", None) for name, image in images.items()]
    for spec, weights in imagenet_classifiers(data):
        yield Exhibit(spec.name, spec, weights, pictures, BLURRED, lambda: _imagenet_lessons(data))


def imagenet_classifiers(data: Path) -> Iterator[tuple[ModelSpec, Path]]:
    """MobileNetV2 through the operator's factory, for its weights want another activation, and SqueezeNet."""
    labels = (data / "imagenet" / "classes.txt").read_text().splitlines()
    for name, architecture in {
        "mobilenet_v2": "factory:mobilenet",
        "squeezenet1_1": "torchvision:squeezenet1_1",
    }.items():
        yield (
            ModelSpec(
                name=name.replace("_", "-"),
                architecture=architecture,
                weights=Weights(part="weights"),
                preprocessing=IMAGENET,
                labels=labels,
            ),
            data / "weights" / f"{name}.fp16.safetensors",
        )


def imagenet(data: Path) -> Exhibit:
    """All photographs of ImageNet classes, by SqueezeNet, which is wrong more often."""
    labels = (data / "imagenet" / "classes.txt").read_text().splitlines()
    pictures = [
        Picture(Path(name).stem, (data / folder / name).read_bytes(), labels[number], None)
        for folder in ("imagenet_flickr", "imagenet")
        for name, number in json.loads((data / folder / "labels.json").read_text()).items()
        if labels.count(labels[number]) == 1
    ]
    *_, (spec, weights) = imagenet_classifiers(data)
    return Exhibit("imagenet", spec, weights, pictures, BLURRED)


def emotions(data: Path) -> Exhibit:
    """Faces of FER-2013's test part by mini-XCEPTION, which the operator's factory builds."""
    archive = np.load(data / "fer2013.npz")
    labels = [str(name).lower() for name in archive["classes"]]
    spec = ModelSpec(
        name="emotions",
        architecture="factory:emotions",
        weights=Weights(part="weights"),
        preprocessing=Preprocessing(color="grey", size=(64, 64), mean=[0.5], std=[0.5]),
        labels=labels,
    )
    faces = zip(archive["test_x"][:FACES], archive["test_y"][:FACES], strict=True)
    pictures = [
        Picture(f"{place}-{labels[int(label)]}", png(face.reshape(48, 48)), labels[int(label)], None)
        for place, (face, label) in enumerate(faces)
    ]
    return Exhibit("emotions", spec, data / "weights" / "mini_xception_emotion.safetensors", pictures, BLURRED)


def _imagenet_lessons(data: Path) -> bytes:
    """The photographs of `imagenet/`, cut as the classifiers see them."""
    labels = (data / "imagenet" / "classes.txt").read_text().splitlines()
    numbers = json.loads((data / "imagenet" / "labels.json").read_text())
    images: list[NDArray[np.uint8]] = []
    for name in numbers:
        found = preprocess(decode((data / "imagenet" / name).read_bytes(), "rgb"), IMAGENET)
        images.append(np.asarray(found.displayed))
    buffer = io.BytesIO()
    np.savez(buffer, images=np.stack(images), labels=np.array([labels[number] for number in numbers.values()]))
    return buffer.getvalue()
