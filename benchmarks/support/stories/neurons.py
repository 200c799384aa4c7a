"""Neurons of VGG-16's last convolution: which stand out for a photograph, and which move as it learns emotions."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from support.factories import emotions_head
from support.stories.asking import Asked
from support.stories.exhibits import BLURRED, Exhibit, Picture, imagenet
from support.stories.learned import small_vgg16
from support.stories.talk import PREPROCESSING, vgg16
from torch import Tensor, nn

from attribution.architectures import two_class_head
from attribution_contracts.models import ModelSpec, Weights
from attribution_contracts.results import Result
from cli.demo.pictures import png
from cli.demo.training import Examples, Recipe, accuracy, fit, save
from workers.images.decoding import decode
from workers.images.preprocessing import preprocess

LAYER, BEFORE = "features.29", "features.28"
"""The last convolution, rectified and not: behind the rectifier nothing leads a silent neuron's picture upwards."""
CONVOLUTION, STEPS = 28, 24
SHOWN = ("zebra", "flamingo", "jaguar", "koala", "steam_locomotive", "manhole_cover")
FACES = PREPROCESSING.model_copy(update={"size": (96, 96), "resize": 96})
HEAD, BOTH = Recipe(epochs=20, learning_rate=1e-4), Recipe(epochs=8, learning_rate=3e-5)
COUNTED, TOLD, MOVED = 125, 4, 8
"""Held-out faces that say which neurons move, those of them that are shown, and neurons that are shown."""


class Emotions(NamedTuple):
    """Faces as pictures, and what VGG-16 makes of them up to its last convolution."""

    names: list[str]
    taught: Examples
    held_out: Examples
    pictures: list[Picture]


def neurons(asked: Asked, data: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """The neurons of photographs, then those that the emotions move."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        backbone, photographs = vgg16(data), imagenet(data)
        archive = np.load(data / "fer2013.npz")
    except FileNotFoundError as error:
        yield {"exhibit": "neurons", "skipped": f"no weights or photographs: {error}"}
        return
    yield from _outstanding(asked, backbone, photographs, folder)
    yield from _moved(asked, backbone, archive, folder)


def _outstanding(asked: Asked, backbone: nn.Module, photographs: Exhibit, folder: Path) -> Iterator[dict[str, Any]]:
    """Of each photograph that is shown, the neuron that stands furthest above what all photographs excite it to."""
    torch.manual_seed(0)
    weights = folder / "photographs.safetensors"
    save(two_class_head(backbone).eval(), weights)  # a head that learnt nothing: neurons are below it
    spec = ModelSpec(
        name="vgg16-neurons",
        architecture="two_class_head",
        options={"backbone": "vgg16"},
        weights=Weights(part="weights"),
        preprocessing=PREPROCESSING,
    )
    unlabelled = [picture._replace(label="") for picture in photographs.pictures]
    every = Exhibit(spec.name, spec, weights, unlabelled, BLURRED)
    asked.register(every)
    sums = _sums(asked.explained(every, "all neurons", **_asking(n_top=1))[0])
    above = (sums - sums.mean(0)) / sums.std(0).clamp_min(1e-6)
    shown = [next(at for at, one in enumerate(photographs.pictures) if one.label == name) for name in SHOWN]
    names = [picture.label for picture in photographs.pictures]
    own = {names[at]: int(above[at].argmax()) for at in shown}
    few = every._replace(pictures=[every.pictures[at] for at in shown])
    result, seconds = asked.explained(few, "their neurons", **_asking(channels=list(dict.fromkeys(own.values()))))
    for at, image in zip(shown, result.images, strict=True):
        channel = own[names[at]]
        better = [names[place] for place in sums[:, channel].argsort(descending=True)[:5].tolist()]
        line = {
            "exhibit": every.name,
            "photograph": names[at],
            "neuron": channel,
            "sum": round(float(sums[at, channel]), 1),
            "deviations_above_the_mean": round(float(above[at, channel]), 1),
            "strongest_photographs": better,
            "strongest_neurons": sums[at].argsort(descending=True)[:5].tolist(),
            "seconds": seconds,
        }
        files = {
            file.quantity: asked.save(file, folder / f"{names[at]}-{file.quantity}.png")
            for file in image.artifacts
            if file.quantity in {"neurons", "spikes"}
        }
        yield line | {"files": files}
    yield from _learned(asked, backbone, list(own.values()), folder)


def _learned(asked: Asked, backbone: nn.Module, channels: list[int], folder: Path) -> Iterator[dict[str, Any]]:
    """What each of these neurons has learnt to answer to, as pictures that excite it."""
    exhibit = small_vgg16(backbone, folder)
    asked.register(exhibit)
    looking = {"method": "feature_visualization", "layer": BEFORE, "channels": channels, "n_steps": STEPS}
    result, seconds = asked.explained(exhibit, "learned features", explanation=looking)
    [sheet] = [file for file in result.artifacts if file.quantity == "visualizations"]
    yield {
        "exhibit": exhibit.name,
        "neurons": channels,
        "file": asked.save(sheet, folder / "learned.png"),
        "seconds": seconds,
    }


def _moved(asked: Asked, backbone: nn.Module, archive: Any, folder: Path) -> Iterator[dict[str, Any]]:
    """The network with a head alone that learnt emotions beside one whose last convolution learnt them as well."""
    torch.manual_seed(0)
    seen = _emotions(asked, backbone, archive, folder / "faces.pt")
    network = emotions_head(backbone)
    tail = nn.Sequential(network.get_submodule("features")[CONVOLUTION:], network.get_submodule("classifier"))
    rights, spoken = dict[str, float](), dict[str, Exhibit]()
    for name, part, recipe in (("before", tail[1], HEAD), ("after", tail, BOTH)):
        for parameter in tail.parameters():
            parameter.requires_grad_(False)
        for parameter in part.parameters():
            parameter.requires_grad_(True)
        fit(tail, seen.taught, recipe, partial(_told, asked, name))
        rights[name] = round(accuracy(tail, seen.held_out), 4)
        weights = folder / f"{name}.safetensors"
        save(network, weights)
        spec = ModelSpec(
            name=f"emotions-{name}",
            architecture="factory:vgg16_of_emotions",
            weights=Weights(part="weights"),
            preprocessing=FACES,
            labels=seen.names,
        )
        spoken[name] = Exhibit(spec.name, spec, weights, seen.pictures, BLURRED)
        asked.register(spoken[name])
    sums = {
        name: _sums(asked.explained(exhibit, "all neurons", **_asking(n_top=1))[0]) for name, exhibit in spoken.items()
    }
    change = sums["after"] - sums["before"]
    moved = change.abs().mean(0).argsort(descending=True)[:MOVED].tolist()
    labels = np.array([picture.label for picture in seen.pictures])
    yield {
        "exhibit": "emotions",
        "right_on_held_out_faces": rights,
        "standard_error": round(float((0.25 / len(seen.held_out.labels)) ** 0.5), 4),
        "neurons_that_move_most": {
            str(channel): {
                "before": round(float(sums["before"][:, channel].mean()), 2),
                "after": round(float(sums["after"][:, channel].mean()), 2),
                "after_by_emotion": {
                    name: round(float(sums["after"][labels == name, channel].mean()), 2) for name in seen.names
                },
            }
            for channel in moved
        },
        "share_of_the_change": round(float(change[:, moved].abs().sum() / change.abs().sum()), 3),
    }
    few = spoken["before"]._replace(pictures=seen.pictures[:: len(seen.pictures) // TOLD])
    result, seconds = asked.compared([few, spoken["after"]], "side by side", **_asking(channels=moved))
    for file in result.artifacts:
        if file.quantity.endswith("side-by-side") or file.quantity == "differences":
            path = folder / f"{few.pictures[file.image or 0].name}-{file.quantity}.png"
            yield {"exhibit": "emotions", "file": asked.save(file, path), "seconds": seconds}


def _told(asked: Asked, name: str, done: int, total: int) -> None:
    asked.told.write(f"\r\x1b[K{name}: {done} of {total}")


def _emotions(asked: Asked, backbone: nn.Module, archive: Any, cache: Path) -> Emotions:
    """The part of FER-2013 that has several emotions, every other face of it to learn from; features computed once."""
    faces, labels = archive["test_x"].reshape(-1, 48, 48), archive["test_y"].astype(np.int64)
    names = [str(archive["classes"][label]).lower() for label in np.unique(labels)]
    if not cache.exists():
        torch.save(_features(asked, backbone, faces), cache)
    features, known = torch.load(cache, weights_only=True), torch.from_numpy(labels)
    taught, held_out = (Examples(features[start::2], known[start::2]) for start in (0, 1))
    shown = range(1, len(faces), 2 * (len(faces) // (2 * COUNTED)))
    pictures = [
        Picture(f"{place}-{names[labels[place]]}", png(faces[place]), names[labels[place]], None) for place in shown
    ]
    return Emotions(names, taught, held_out, pictures)


@torch.no_grad()
def _features(asked: Asked, backbone: nn.Module, faces: Any) -> Tensor:
    frozen = backbone.get_submodule("features")[:CONVOLUTION]
    rows = list[Tensor]()
    for start in range(0, len(faces), 50):
        asked.told.write(f"\r\x1b[Kfaces: {start} of {len(faces)}")
        batch = [preprocess(decode(png(face), "rgb"), FACES).tensor for face in faces[start : start + 50]]
        rows.append(frozen(torch.stack(batch)))
    return torch.cat(rows)


def _asking(**more: Any) -> dict[str, Any]:
    return {"explanation": {"method": "activation_maps", "layers": [LAYER], **more}}


def _sums(result: Result) -> Tensor:
    """Of every image and neuron."""
    return torch.tensor([image.activations[0].sums for image in result.images], dtype=torch.float64)
