"""`attribution demo` as a user runs it, on real servers; the classifier of digits is given, for training is slow."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attribution.architectures import mnist_cnn
from attribution_contracts.methods import METHODS
from attribution_contracts.results import Result
from attribution_contracts.version import VERSION
from cli.demo.engines import PARTS, SIDE_BY_SIDE
from cli.demo.looks import LOOKS
from cli.demo.run import TOGETHER
from cli.demo.training import save

COMMAND = [sys.executable, "-c", "from cli.demo.command import demo; demo()"]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """What it prints and writes, run in an empty folder."""
    folder = tmp_path_factory.mktemp("demo")
    weights = folder / ".attribution" / "demo" / f"digits-{VERSION}.safetensors"
    weights.parent.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save(mnist_cnn(), weights)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ATTRIBUTION_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(COMMAND, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    return done, folder


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_it_succeeds_and_says_where_to_look(outcome):
    done, folder = outcome
    assert done.returncode == 0, done.stderr
    assert (folder / "demo" / "index.html").resolve().as_uri() in done.stdout
    assert all(name in done.stdout for name in ("0-zero", "9-nine", "0-striped", "5-chequered"))


def test_every_image_has_its_maps_and_its_error(outcome):
    _, folder = outcome
    for exhibit, count, side in (("digits", 10, 28), ("planted", 6, 64)):
        maps = folder / "demo" / exhibit / "integrated_gradients"
        result = Result.model_validate_json((maps / "result.json").read_text())
        assert (result.counts.images, result.counts.succeeded) == (count, count)
        for image in result.images:
            files = {reference.quantity: maps / reference.name for reference in image.artifacts}
            values = np.load(files["attributions"])
            assert values.shape[-2:] == (side, side)
            assert values.sum() == pytest.approx(image.targets[0].sum, abs=1e-4)
            error = image.completeness[0].relative
            assert error is not None
            assert error <= 0.01 or exhibit == "digits", (
                "logits near zero, as of a classifier never trained, have larger ones"
            )
            assert size(files["heatmap"]) == size(files["overlay"]) == (side * (224 // side + (224 % side > 0)),) * 2


def test_what_the_classifier_gets_wrong_is_explained_against_the_true_class(outcome):
    _, folder = outcome
    result = Result.model_validate_json((folder / "demo" / "mistakes" / "why_wrong" / "result.json").read_text())
    assert result.counts.images == result.counts.succeeded > 0
    for image in result.images:
        assert image.label is not None
        [target] = image.targets
        assert target.index == image.prediction[0].index != image.label.index
        assert [held.index for held in target.against] == [image.label.index]
    assert "Why wrong: the predicted class against the true one" in (folder / "demo" / "index.html").read_text()


def test_the_planted_classifier_is_right_and_looks_at_the_evidence(outcome):
    done, _ = outcome
    rows = [line.split() for line in done.stdout.splitlines() if "-chequered" in line]
    assert len(rows) == 3 * (len(PARTS) - 1)
    for row in rows:
        assert row[1] == "chequered"
        if row[-1] == "%":
            share, area = float(row[-4]), float(row[-2])
            assert share > 3 * area


def test_every_method_that_applies_is_on_one_sheet_an_image(outcome):
    _, folder = outcome
    for exhibit in ("digits", "planted"):
        maps = folder / "demo" / exhibit / SIDE_BY_SIDE
        result = Result.model_validate_json((maps / "result.json").read_text())
        methods = [cell.method for cell in result.cells]
        assert {part for part in PARTS[1:] if METHODS[part].makes_maps} < set(methods)
        assert [cell.error for cell in result.cells] == [None] * len(methods)
        sheets = [reference for reference in result.artifacts if reference.quantity == "maps-side-by-side"]
        assert [reference.image for reference in sheets] == list(range(TOGETHER))
        assert min(min(size(maps / reference.name)) for reference in sheets) > 600


def test_nothing_speaks_against_the_maps_of_the_planted_classifier(outcome):
    _, folder = outcome
    for method in PARTS[1:]:
        result = Result.model_validate_json((folder / "demo" / "planted" / method / "result.json").read_text())
        assert [image.warnings for image in result.images] == [[]] * 6, method


def test_what_it_started_is_stopped(outcome):
    _, folder = outcome
    living = []
    for process in Path("/proc").glob("[0-9]*/environ"):
        try:
            living += [process] if str(folder).encode() in process.read_bytes() else []
        except OSError:
            continue
    assert living == []


def test_what_lies_inside_the_classifier_is_shown_by_four_looks(outcome):
    _, folder = outcome
    page = (folder / "demo" / "index.html").read_text()
    for key, look in LOOKS.items():
        result = Result.model_validate_json((folder / "demo" / "digits" / key / "result.json").read_text())
        [first, *_] = [file for file in result.artifacts if file.quantity == look.quantity]
        assert min(size(folder / "demo" / "digits" / key / first.name)) > 100
        assert f"<h3>{look.title}</h3>" in page
    assert len(LOOKS) == 4
