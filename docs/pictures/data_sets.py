"""Draws the pictures of the tasks over data sets, of the digits that come with scikit-learn, beside this file.

Run by hand from the root of the repository, against a running service: `ATTRIBUTION_URL=http://127.0.0.1:8000 python
docs/pictures/data_sets.py`. The classifier of the digits is trained at first, for some seconds.
"""

import io
import os
import sys
import zipfile
from typing import Any

import numpy as np
from classifiers import CACHE, cached
from drawing import FOLDER
from PIL import Image

from attribution.architectures import mnist_cnn
from attribution_client import Client
from cli.demo import digits

TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "maximal_patches_digits": ("patches", {"task": "maximal_patches", "layer": "relu2", "n_channels": 6}),
    "representation_pca_digits": ("scatter", {"task": "representation_pca", "layer": "relu3"}),
    "part_shape_texture_digits": ("cues", {"task": "part_shape_texture", "n_examples": 3}),
}


def archive() -> bytes:
    """The held-out digits, a folder a class."""
    buffer, unseen = io.BytesIO(), digits.held_out()
    with zipfile.ZipFile(buffer, "w") as whole:
        for number, (image, label) in enumerate(zip(unseen.images, unseen.labels, strict=True)):
            picture = io.BytesIO()
            Image.fromarray(np.asarray(image)).save(picture, "PNG")
            # Without a time of writing the same digits are the same archive.
            entry = zipfile.ZipInfo(f"{digits.SPEC.labels[label]}/{number:03d}.png")
            whole.writestr(entry, picture.getvalue())
    return buffer.getvalue()


def main() -> None:
    """Draws everything."""
    cached("digits", mnist_cnn, lambda: digits.train().module)
    with Client(os.environ["ATTRIBUTION_URL"]) as client:
        spec = digits.SPEC.model_dump(mode="json") | {"name": "drawn-digits", "weights": {"part": "weights"}}
        client.register_model(spec, weights=CACHE / "digits.safetensors")
        client.wait_for_model("drawn-digits@1")
        client.register_dataset("drawn-digits", archive())
        client.wait_for_dataset("drawn-digits@1")
        for name, (quantity, task) in TASKS.items():
            job = client.submit(model="drawn-digits", dataset="drawn-digits", task=task)
            client.wait(job.id)
            [file] = [one for one in client.result(job.id).artifacts if one.quantity == quantity]
            picture = Image.open(io.BytesIO(client.artifact(file))).convert("RGB")
            path = FOLDER / f"{name}.png"
            picture.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
            sys.stdout.write(f"{path.stat().st_size:,} bytes in {path.name}\n")


if __name__ == "__main__":
    main()
