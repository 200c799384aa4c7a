"""The guide to classifiers says what the code does."""

import inspect
import re
from pathlib import Path

import pytest
import torch

from attribution_contracts.models import ModelSpec
from storage.operator_config import load_config
from workers.models.architectures import OURS

GUIDE = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")


def block(language):
    [found] = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return found


def test_the_specification_is_valid():
    given = ModelSpec.model_validate_json(block("json"))
    assert given.options["num_classes"] == len(given.labels)


def test_the_configuration_file_is_valid(tmp_path):
    path = tmp_path / "operator.toml"
    path.write_text(block("toml"), encoding="utf-8")
    config = load_config(path)
    [model] = config.models
    assert model.spec.architecture == f"factory:{next(iter(config.factories))}"
    assert model.weights_file.sha256 == model.spec.weights.sha256


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_onnx_file_is_made_as_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [line] = re.findall(r"`(torch\.onnx\.export\(.*?\))`", GUIDE)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2)).eval()
    exec(line, {"torch": torch, "module": module, "image": torch.zeros(1, 3, 8, 8)})
    assert [file.name for file in tmp_path.iterdir()] == ["birds.onnx"]


@pytest.mark.parametrize("name", OURS)
def test_every_architecture_is_listed_with_its_options(name):
    [row] = [line for line in GUIDE.splitlines() if line.startswith("|") and f"`{name}`" in line]
    options = [option for option in inspect.signature(OURS[name]).parameters if option != "preprocessing"]
    assert re.findall(r"`(\w+)`", row.split("|")[2]) == options
