"""The notebook runs from top to bottom, and the guide of the client says of a result what a result has."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from attribution.architectures import mnist_cnn
from tests.house.tree import ROOT

NOTEBOOK = json.loads((ROOT / "examples" / "first_maps.ipynb").read_text(encoding="utf-8"))
GUIDE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
READING = re.findall(r"```python\n(.*?)```", GUIDE.split("## What a result holds")[1].split("\n## ")[0], re.DOTALL)


@pytest.fixture(scope="module")
def folder(served, tmp_path_factory) -> Path:
    """A folder with an image that is no square and lies on its side, and a classifier at the service."""
    from attribution_client import Client

    folder = tmp_path_factory.mktemp("notebook")
    torch.manual_seed(0)
    save_file(mnist_cnn().state_dict(), folder / "weights.safetensors")
    upright = Image.Exif()
    upright[0x0112] = 6
    Image.linear_gradient("L").resize((64, 40)).save(folder / "image.png", exif=upright)
    spec = {
        "name": "digits",
        "version": "notebook",
        "architecture": "mnist_cnn",
        "weights": {"part": "weights"},
        "preprocessing": {"color": "grey", "size": [28, 28], "resize": 28},
    }
    with Client(served.url) as client:
        client.register_model(spec, weights=folder / "weights.safetensors")
        client.wait_for_model("digits@notebook", timeout=120)
    return folder


def test_the_notebook_runs(served, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ATTRIBUTION_URL", served.url)
    names: dict[str, Any] = {}
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]).replace('MODEL = "digits"', 'MODEL = "digits@notebook"'), names)
    assert names["overlay"].size == (40, 64)
    assert names["image"].original == [64, 40]
    assert np.isclose(names["values"].sum(), names["target"].sum, rtol=1e-3, atol=1e-4)
    drawn = np.asarray(names["overlay"])
    assert (drawn[12:52] != drawn[12:52, :, :1]).any()
    assert (drawn[:12] == drawn[:12, :, :1]).all(), "nothing is drawn where the network did not look"
    assert (folder / "explanation" / "result.json").exists()


def test_the_notebook_holds_no_pictures():
    for cell in NOTEBOOK["cells"]:
        ast.parse("".join(cell["source"])) if cell["cell_type"] == "code" else None
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_guide_reads_a_result(served, folder, monkeypatch, capsys):
    from attribution_client import Client

    monkeypatch.chdir(folder)
    with Client(served.url) as client:
        job = client.submit(
            model="digits@notebook", images=["image.png"], explanation={"method": "integrated_gradients"}
        )
        client.wait(job.id)
        names = {"client": client, "result": client.result(job.id)}
        for block in READING:
            exec(block, names)
    assert "image.png" in capsys.readouterr().out
    assert names["values"].shape == (1, 28, 28)
