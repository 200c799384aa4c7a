"""The operator's file: every mistake is a line with its place, and factories are looked for without an import."""

import sys

import pytest

from storage.operator_config import ConfigError, lacking_factories, load_config

MODEL = """
[[models]]
name = "emotions"
architecture = "mnist_cnn"
preprocessing = { color = "grey", size = [64, 64] }
"""
DIGEST = "0" * 64


@pytest.fixture
def wrong(tmp_path):
    """The lines that a file of mistakes is answered with."""

    def load(text):
        (tmp_path / "attribution.toml").write_text(text)
        with pytest.raises(ConfigError) as told:
            load_config(tmp_path / "attribution.toml")
        first, *lines = str(told.value).splitlines()
        assert first == f"configuration file {tmp_path}/attribution.toml:"
        return [line.strip() for line in lines]

    return load


def test_every_mistake_is_a_line_with_its_place(wrong):
    lines = wrong(
        'factory = {}\n[factories]\nmine = "my_package.networks"\n'
        + MODEL.replace("grey", "gray")
        + 'optionz = {}\nweights_file = { path = "x", sha256 = 9 }\n'
        + f'{MODEL}weights = {{ sha256 = "{DIGEST}" }}\n'
        + '[[models]]\narchitecture = "mnist_cnn"\npreprocessing = { size = [8, 8] }\n'
    )
    assert lines == [
        "factories.mine: expected package.module:function (given: 'my_package.networks')",
        "factory: Extra inputs are not permitted; did you mean 'factories'?",
        "model 'emotions', preprocessing.color: Input should be 'rgb' or 'grey'; did you mean 'grey'? (given: 'gray')",
        "model 'emotions', weights_file.sha256: Input should be a valid string (given: 9)",
        "model 'emotions', optionz: Extra inputs are not permitted; did you mean 'options'?",
        "model 3, name: Field required",
    ]


def test_weights_come_from_one_place(wrong):
    both = f'weights = {{ sha256 = "{DIGEST}" }}\nweights_file = {{ path = "x", sha256 = "{DIGEST}" }}\n'
    for text in (MODEL, MODEL + both):
        [line] = wrong(text)
        assert line.startswith("model 'emotions', expected either weights or weights_file")


@pytest.mark.parametrize("text", ["models = 3", "models = [3]", "[models]\nname = 'x'"])
def test_models_are_tables(wrong, text):
    assert wrong(text) == ["models: expected tables, each under a line [[models]]"]


def test_weights_lie_beside_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attribution.toml").write_text(f'{MODEL}weights_file = {{ path = "w", sha256 = "{DIGEST}" }}\n')
    [model] = load_config((tmp_path / "attribution.toml").relative_to(tmp_path)).models
    assert (model.weights_file.path, model.spec.weights.sha256) == (tmp_path / "w", DIGEST)


def test_factories_are_looked_for_without_importing_them(tmp_path, monkeypatch):
    package = tmp_path / "brought_along"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "networks.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    targets = {"mine": "brought_along.networks:one", "other": "brought_along.nets:one", "far": "not_there.x:one"}
    other, far = lacking_factories(targets)
    assert "'other' cannot be imported here: there is no module 'brought_along.nets'" in other
    assert "'far' cannot be imported here: there is no module 'not_there'; the PYTHONPATH of every worker" in far
    assert "brought_along" not in sys.modules
