"""The talk's experiment on VGG-16: features as they are, flatten, dense 64, dropout, dense 2, for cats and dogs."""

import statistics
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file
from support.stories.asking import Asked, explanation, told
from support.stories.exhibits import BLURRED, Exhibit, Picture
from support.stories.outlines import outlines
from torch import nn

from attribution.architectures import two_class_head
from attribution_contracts.models import ModelSpec, Preprocessing, Weights
from attribution_contracts.results import ImageResult
from cli.demo.training import Examples, Recipe, fit, is_right, save
from workers.images.decoding import decode
from workers.images.preprocessing import preprocess

CLASSES = ("cat", "dog")
PREPROCESSING = Preprocessing(size=(224, 224), resize=224, mean=[0.485020, 0.457957, 0.407604], std=[1 / 255])
RECIPE = Recipe(epochs=10, batch_size=32, learning_rate=3e-4)
EACH, FOLDS, SEEDS, TOLD = 200, 5, 3, 1
"""Photographs of each class, parts of them that take turns at being held out, seeds of each, and photographs of each
class that are told of."""
ASKED_FOR = 0.92
LAYERS = {
    1: "input",
    2: "features.1",
    3: "features.3",
    4: "features.4",
    5: "features.6",
    6: "features.8",
    7: "features.9",
    9: "features.13",
    11: "features.15",
    12: "features.16",
    14: "features.20",
    16: "features.22",
    17: "features.23",
    19: "features.27",
    21: "features.29",
}
"""Those that the talk shows, by its numbers, which count VGG-19's. A convolution of VGG-16 stands for the one at the
same place of its block, its third for the fourth, which it lacks; rectified, as the talk's are."""


def talk(asked: Asked, data: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """How often the head is right on photographs that it did not learn, then what the layers contribute."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        backbone = vgg16(data)
        files = _photographs(data)
    except FileNotFoundError as error:
        yield {"exhibit": "cats_dogs", "skipped": f"no weights or photographs: {error}"}
        return
    torch.manual_seed(0)
    classifier = two_class_head(backbone).eval()
    seen = _features(asked, classifier.get_submodule("features"), files, folder / "features.pt")
    rights = [_rights(classifier.get_submodule("classifier"), seen, seed) for seed in range(SEEDS)]
    yield _accuracy(rights)
    # The classifier that is told of never saw the first fold.
    held_out = _folds(len(files)) == 0
    _learn(classifier.get_submodule("classifier"), seen, ~held_out, 0)
    weights = folder / "weights.safetensors"
    save(classifier, weights)
    right = is_right(classifier.get_submodule("classifier"), seen)
    shown, missed = _told_of(files, held_out, right)
    exhibit = Exhibit("cats-and-dogs", _spec(), weights, [*shown, *missed], BLURRED)
    asked.register(exhibit)
    for picture in exhibit.pictures:
        target = {"against": "label"} if picture in missed else "predicted"
        yield from _layers(asked, exhibit._replace(pictures=[picture]), target, folder)
    images = [preprocess(decode(one.content, "rgb"), PREPROCESSING).tensor for one in exhibit.pictures]
    found = outlines(classifier, backbone, torch.stack(images), list(LAYERS.values()))
    yield {"exhibit": exhibit.name, "claim": "rank correlations of the strength of maps", **found}


def vgg16(data: Path) -> nn.Module:
    """The convolutions as trained on ImageNet; the dense head, which nothing here uses, stays without memory."""
    with torch.device("meta"):
        module = torchvision.models.vgg16(weights=None)
    state = {
        name: value.float() for name, value in load_file(data / "weights" / "vgg16_features.fp16.safetensors").items()
    }
    module.load_state_dict(state, strict=False, assign=True)
    return module.eval()


def _photographs(data: Path) -> list[tuple[Path, int]]:
    """Cats and dogs take turns, so that each fold has as many of both."""
    by_class = [sorted((data / "cats_dogs" / name).iterdir())[:EACH] for name in CLASSES]
    return [(path, label) for pair in zip(*by_class, strict=True) for label, path in enumerate(pair)]


@torch.no_grad()
def _features(asked: Asked, module: nn.Module, files: list[tuple[Path, int]], cache: Path) -> Examples:
    """What the frozen part makes of the photographs, computed once."""
    labels = torch.tensor([label for _, label in files])
    if cache.exists():
        return Examples(torch.load(cache, weights_only=True), labels)
    rows, module = [], module.to(memory_format=torch.channels_last)
    for number, (path, _) in enumerate(files):
        asked.told.write(f"\r\x1b[Kfeatures: {number} of {len(files)}")
        seen = preprocess(decode(path.read_bytes(), "rgb"), PREPROCESSING).tensor[None]
        rows.append(module(seen.to(memory_format=torch.channels_last)).contiguous())
    asked.told.write("\r\x1b[K")
    torch.save(found := torch.cat(rows), cache)
    return Examples(found, labels)


def _learn(head: nn.Module, seen: Examples, learnt: torch.Tensor, seed: int) -> None:
    """Trains the head afresh."""
    torch.manual_seed(seed)
    for part in head.modules():
        if isinstance(part, nn.Linear):
            part.reset_parameters()
    fit(head, Examples(seen.inputs[learnt], seen.labels[learnt]), RECIPE)


def _rights(head: nn.Module, seen: Examples, seed: int) -> torch.Tensor:
    """Whether each photograph is classified rightly by a head that did not learn it."""
    right = torch.zeros(len(seen.labels), dtype=torch.bool)
    for number in range(FOLDS):
        held_out = _folds(len(right)) == number
        _learn(head, seen, ~held_out, seed)
        right[held_out] = is_right(head, Examples(seen.inputs[held_out], seen.labels[held_out]))
    return right


def _accuracy(rights: list[torch.Tensor]) -> dict[str, Any]:
    by_photograph = torch.stack(rights).double().mean(0)
    reached = float(by_photograph.mean())
    return {
        "exhibit": "cats_dogs",
        "claim": "VGG-16: accuracy on held-out photographs",
        "measured": round(reached, 4),
        "standard_error": round(float(by_photograph.std() / len(by_photograph) ** 0.5), 4),
        "target": ASKED_FOR,
        "met": reached >= ASKED_FOR,
        "photographs": len(by_photograph),
        "folds": FOLDS,
        "by_seed": [round(float(right.double().mean()), 4) for right in rights],
        "between_seeds": round(statistics.stdev(float(right.double().mean()) for right in rights), 4),
    }


def _folds(count: int) -> torch.Tensor:
    """A fold is every fifth pair of a cat and a dog."""
    return torch.arange(count) // len(CLASSES) % FOLDS


def _spec() -> ModelSpec:
    return ModelSpec(
        name="cats-and-dogs",
        architecture="two_class_head",
        options={"backbone": "vgg16"},
        weights=Weights(part="weights"),
        preprocessing=PREPROCESSING,
        labels=list(CLASSES),
    )


def _told_of(
    files: list[tuple[Path, int]], held_out: torch.Tensor, right: torch.Tensor
) -> tuple[list[Picture], list[Picture]]:
    """The first held-out photographs of each class that are classified rightly, and the first that is not."""

    def of(chosen: torch.Tensor, count: int) -> list[Picture]:
        found = [files[number] for number in chosen.nonzero()[:count, 0].tolist()]
        return [Picture(path.stem, path.read_bytes(), CLASSES[label], None) for path, label in found]

    labels = torch.tensor([label for _, label in files])
    shown = [of(held_out & right & (labels == label), TOLD) for label in range(len(CLASSES))]
    return list(chain.from_iterable(shown)), of(held_out & ~right, 1)


def _layers(asked: Asked, exhibit: Exhibit, target: Any, folder: Path) -> Iterator[dict[str, Any]]:
    """The contact sheet of the layers that the talk shows for a picture, and what each of them contributes."""
    asking = {"layers": list(LAYERS.values()), "target": target}
    [picture] = exhibit.pictures
    result, seconds = asked.explained(
        exhibit, picture.name, explanation=explanation("layer_shapley", exhibit, **asking)
    )
    [image] = result.images
    for file in image.artifacts:
        if file.quantity in {"layers", "depth"}:
            path = asked.save(file, folder / f"{picture.name}-{file.quantity}.png")
            yield {"exhibit": exhibit.name, "picture": picture.name, "file": path}
    line = {"exhibit": exhibit.name, "picture": picture.name, "seconds": seconds}
    yield line | told(image) | {"layers": _contributions(image)}


def _contributions(image: ImageResult) -> dict[str, dict[str, float | None]]:
    """By the talk's number."""
    found = {layer.layer: layer for layer in image.layers}
    return {
        f"{number} ({name})": {
            "sum": round(found[name].sum, 3),
            "positive": round(found[name].positive, 3),
            "negative": round(found[name].negative, 3),
            "missed": found[name].relative,
        }
        for number, name in LAYERS.items()
    }
