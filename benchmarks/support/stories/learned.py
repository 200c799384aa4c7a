"""What VGG-16's convolutions learned, without any image: the first four, and 90 feature maps of the last.

On two cores all of it takes about an hour, most of it for the last layer.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.stories.asking import Asked
from support.stories.exhibits import BLURRED, Exhibit
from support.stories.talk import CLASSES, PREPROCESSING, vgg16

from attribution.architectures import two_class_head
from attribution_contracts.models import ModelSpec, Weights
from cli.demo.training import save

SIDE = 128
"""Of the pictures: the source's have 150 pixels, and 128 are a whole number of the network's places."""
FIRST = ("features.0", "features.2", "features.5", "features.7")
EACH = 16
"""Feature maps of each of the first four."""
LAST, ALL = "features.28", 90
STEPS, LAST_STEPS = 48, 20
WAYS = ("plain", "maco")
COMPARED = 60
"""Photographs that the activations are held against."""


def learned(asked: Asked, data: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """A sheet for each layer, by plain ascent as in the source and by fixed magnitudes."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        backbone = vgg16(data)
        files = [sorted((data / "cats_dogs" / name).iterdir())[: COMPARED // 2] for name in CLASSES]
    except FileNotFoundError as error:
        yield {"exhibit": "vgg16", "skipped": f"no weights or photographs: {error}"}
        return
    torch.manual_seed(0)
    weights = folder / "weights.safetensors"
    save(two_class_head(backbone, (3, SIDE, SIDE)).eval(), weights)
    exhibit = Exhibit("vgg16", _spec(), weights, [], BLURRED)
    asked.register(exhibit)
    images = [asked.client.upload(path).sha256 for own in files for path in own]
    yield _filters(asked, exhibit, folder)
    for way in WAYS:
        for layer in (*FIRST, LAST):
            yield _units(asked, exhibit, layer, way, images, folder)


def _filters(asked: Asked, exhibit: Exhibit, folder: Path) -> dict[str, Any]:
    result, seconds = asked.explained(exhibit, "filters", explanation={"method": "first_layer_filters", "scale": "own"})
    [sheet] = [file for file in result.artifacts if file.quantity == "filter_grid"]
    return {"layer": "features.0", "sheet": asked.save(sheet, folder / "filters.png"), "seconds": seconds}


def _units(asked: Asked, exhibit: Exhibit, layer: str, way: str, images: list[str], folder: Path) -> dict[str, Any]:
    explanation = {
        "method": "feature_visualization",
        "layer": layer,
        "channels": list(range(ALL if layer == LAST else EACH)),
        "mode": way,
        "n_steps": LAST_STEPS if layer == LAST else STEPS,
        "compared_with": {"kind": "background", "images": [{"image": digest} for digest in images]},
    }
    result, seconds = asked.explained(exhibit, f"{way}, {layer}", explanation=explanation)
    assert result.of_model is not None
    found = result.of_model.visualized
    assert found is not None
    for file in result.artifacts:
        if file.quantity in {"visualizations", "ascent"}:
            asked.save(file, folder / f"{way}-{layer}-{file.quantity}.png")
    compared = [(unit.activation, unit.natural) for unit in found.units if unit.natural is not None]
    times = [activation / natural.top for activation, natural in compared if natural.top > 0]
    return {
        "layer": layer,
        "way": way,
        "units": len(found.units),
        "above_the_top_percent": sum(activation > natural.top for activation, natural in compared),
        "above_all": sum(activation > natural.highest for activation, natural in compared),
        "times_the_top_percent": round(float(np.median(times)), 1) if times else None,
        "seconds": seconds,
    }


def _spec() -> ModelSpec:
    return ModelSpec(
        name="vgg16-features",
        architecture="two_class_head",
        options={"backbone": "vgg16"},
        weights=Weights(part="weights"),
        preprocessing=PREPROCESSING.model_copy(update={"size": (SIDE, SIDE), "resize": SIDE}),
        labels=list(CLASSES),
    )
