"""Layers that a job names, and sets of images that a model is registered with."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import attribution
from attribution.networks.selection import selected_layers
from attribution_contracts.models import LayerInfo, ModelSpec
from cli.main import command as attribution_command
from service.submission.layers import chosen_layers
from tests.attribution.tiny_models import SHAPE, tiny_model
from tests.service.house import House, model_spec, picture, refused, report_of, sent

SHAPLEY = {"method": "layer_shapley"}
IMAGE = sent(picture())


def submitted(house: House, **params: Any) -> Any:
    return house.submit(model="digits", inputs=[IMAGE], explanation=SHAPLEY | params)


@pytest.mark.parametrize("layers", [["fc"], ["input"], ["Linear"], ["f*"], "all", "stages"])
def test_layers_are_named_by_name_kind_or_pattern(house: House, layers: Any) -> None:
    house.add_model()
    assert submitted(house, layers=layers).status_code == 202


def test_unknown_layers_are_refused_with_the_closest_known_one(house: House) -> None:
    house.add_model()
    wrong = refused(submitted(house, layers=["fc", "fcc"], raw=["conv*"]), 422, "invalid_option")
    assert wrong.keys() == {"/explanation/layers/1", "/explanation/raw/0"}
    assert "'fcc' is no layer" in wrong["/explanation/layers/1"]
    assert "fc" in wrong["/explanation/layers/1"].split("; ")[1]


def of_transformer(house: House, **explanation: Any) -> Any:
    return house.submit(model="vit", inputs=[IMAGE], explanation=explanation)


def test_rules_of_layers_are_refused_where_those_of_transformers_are_needed(house: House) -> None:
    house.add_model("vit", report=report_of(10).model_copy(update={"relevance_rule": "cp_lrp"}))
    of_layers = [{"layers": ["fc"], "rule": "gamma"}]
    for rule in ("epsilon", of_layers):
        wrong = refused(of_transformer(house, method="lrp", rule=rule), 422, "invalid_option")
        assert "use cp_lrp (the default) or attn_lrp" in wrong["/explanation/rule"]
    wrong = refused(of_transformer(house, method="lrp", layers="all"), 422, "invalid_option")
    assert "leave layers out, or use layer_shapley" in wrong["/explanation/layers"]
    for rule in (None, "cp_lrp", "attn_lrp"):
        assert of_transformer(house, method="lrp", rule=rule).status_code == 202


def test_layers_without_a_place_are_refused_for_a_map_with_those_that_have_one(house: House) -> None:
    house.add_model("vit", report=report_of(10).model_copy(update={"mapped": ["input"]}))
    wrong = refused(of_transformer(house, method="cam", layers=["input", "fc"]), 422, "invalid_option")
    assert wrong.keys() == {"/explanation/layers/1"}
    assert "fc cannot be shown as a map" in wrong["/explanation/layers/1"]
    assert "those that can are input" in wrong["/explanation/layers/1"]
    assert of_transformer(house, method="cam", layers="all").status_code == 202


def test_stages_are_those_that_the_report_names() -> None:
    reported = [LayerInfo(name=name, kind="conv", shape=None, cuts=True) for name in ("a", "b", "c")]
    assert chosen_layers("stages", reported, ["a", "c"]) == {"a", "c"}
    assert chosen_layers(["stages", "b"], reported, ["a"]) == {"a", "b"}
    # A report that is older than the word: as much as it may be.
    assert chosen_layers("stages", reported, []) == {"input", "a", "b", "c"}


@pytest.mark.parametrize("choice", ["all", "input", "conv", "addition", "*1", ["relu", "linear"], "[ab]*", "nothing"])
def test_the_gateway_reads_a_choice_as_the_engine_does(choice: Any) -> None:
    network = attribution.Network(tiny_model("residual"), SHAPE)
    reported = [LayerInfo(name=layer.name, kind=layer.kind, shape=None, cuts=layer.cuts) for layer in network.layers]
    try:
        expected = set(selected_layers(network, choice))
    except attribution.errors.InvalidOption:
        expected = set()
    assert chosen_layers(choice, reported) == expected


class Odd(nn.Module):
    """One rectifier for two, layers that are called as kinds and patterns are, and one called as the image is."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.relu_2, self.linear, self.input = nn.ReLU(), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
        for name in ("all", "[ab]", "a", "Conv", "star*", "stars"):
            self.add_module(name, nn.Conv2d(2, 2, 1))
        self.shared = self.fc = nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu_2(self.input(self.linear(self.relu(x))))
        for name in ("all", "[ab]", "a", "Conv", "star*", "stars"):
            x = self.get_submodule(name)(x)
        return self.shared(self.relu(-x).mean((2, 3)) + x.amax((2, 3)))


class Nested(nn.Module):
    """One stage twice, in a list."""

    def __init__(self) -> None:
        super().__init__()
        stage = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())
        self.stages, self.fc = nn.ModuleList([stage, stage]), nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            x = stage(x)
        return self.fc(x.mean((2, 3)))


CHOICES: list[Any] = [
    "all", "input", "relu", "relu:2", "relu_2", "relu*", "*:2", "relu:3", "linear", "conv", "Conv", "Linear", "LINEAR",
    "activation", "[ab]", "a", "[a]", "star*", "stars", "star?", "*", "?", "", " relu", "relu ", "fc", "shared", "[",
    "stages.0.0", "stages.1.0", "stages.*", "stages.0.1:2", "stages.0.*:2", "mean", "mean*", "add", "add*", "negation",
    ["relu", "relu:2"], ["input", "all"], ["conv", "linear"], ["*1", "*:2"], ["relu", "nothing"], ["fc", "fc"],
]  # fmt: skip


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("make", [Odd, Nested])
def test_odd_names_are_read_alike(make: type[nn.Module], choice: Any) -> None:
    """What the gateway refuses the engine refuses, one choice after the other, and what it lets pass means the same."""
    torch.manual_seed(0)
    network = attribution.Network(make(), (2, 4, 4))
    reported = [LayerInfo(name=layer.name, kind=layer.kind, shape=None, cuts=layer.cuts) for layer in network.layers]
    for one in [choice] if isinstance(choice, str) else choice:
        try:
            expected = set(selected_layers(network, one))
        except attribution.errors.InvalidOption:
            expected = set()
        assert chosen_layers(one, reported) == expected
    try:
        whole = set(selected_layers(network, choice))
    except attribution.errors.InvalidOption:
        assert any(not chosen_layers(one, reported) for one in ([choice] if isinstance(choice, str) else choice))
    else:
        assert chosen_layers(choice, reported) == whole


def test_options_of_another_estimator_are_refused(house: House) -> None:
    house.add_model()
    [(pointer, detail)] = refused(submitted(house, n_samples=3), 422, "invalid_request").items()
    assert pointer == "/explanation"
    assert "n_samples belongs to expected_gradients and feature_maps, estimator is path" in detail


def uploaded(house: House) -> str:
    content = picture()
    assert house.http.post("/v1/images", content=content, headers={"Content-Type": "image/png"}).status_code in {
        200,
        201,
    }
    return hashlib.sha256(content).hexdigest()


def registered(house: House, backgrounds: dict[str, list[str]]) -> Any:
    return house.http.post("/v1/models", json=model_spec(backgrounds=backgrounds))


def test_a_model_is_registered_with_sets_of_uploaded_images(house: House) -> None:
    digest = uploaded(house)
    answer = registered(house, {"plain": [digest, digest]})
    assert answer.status_code == 202, answer.text
    assert answer.json()["backgrounds"] == {"plain": [digest, digest]}
    assert ModelSpec.model_validate(house.claim().request).backgrounds == {"plain": [digest, digest]}
    other = registered(house, {"plain": [digest]})
    assert other.status_code == 409, "another set makes another model, and a version never changes"


def test_sets_of_unknown_images_are_refused(house: House) -> None:
    digest = uploaded(house)
    wrong = refused(registered(house, {"plain": [digest, "0" * 64]}), 422, "invalid_request")
    assert wrong == {"/backgrounds/plain/1": f"no image {'0' * 64} was uploaded: send it to POST /v1/images first"}
    assert house.counts().get("models", 0) == 0


def test_a_job_names_a_set_of_its_model(house: House) -> None:
    house.add_model(backgrounds={"plain": [uploaded(house)]})
    assert submitted(house, baselines=[{"kind": "set", "name": "plain"}]).status_code == 202
    wrong = refused(submitted(house, baselines=[{"kind": "set", "name": "plane"}]), 422, "invalid_option")
    [(pointer, detail)] = wrong.items()
    assert pointer == "/explanation/baselines/0/name"
    assert "no set 'plane'" in detail
    assert "plain" in detail


def test_the_command_sends_a_folder_as_a_set(house: House, tmp_path: Path) -> None:
    for name, size in {"a.png": 8, "b.PNG": 9}.items():
        (tmp_path / name).write_bytes(picture(size=(size, size)))
    (tmp_path / "notes.txt").write_text("not an image")
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(model_spec()))
    words = ["models", "add", "digits", "--spec", str(spec), "--no-wait", "--url", str(house.http.base_url)]
    done = CliRunner().invoke(attribution_command, [*words, "--background", f"plain={tmp_path}"])
    assert done.exit_code == 0, done.output
    [digests] = ModelSpec.model_validate(house.claim().request).backgrounds.values()
    assert digests == [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.png", "b.PNG")]
    wrong = CliRunner().invoke(attribution_command, [*words, "--background", f"plain={tmp_path / 'nowhere'}"])
    assert wrong.exit_code == 2
    assert "expected NAME=FOLDER" in wrong.output


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"estimator": "deeplift", "output": "probability"}, "deeplift explains logits"),
        ({"estimator": "feature_maps", "sampler": "exact", "n_samples": 50}, "n_samples belongs to the samplers"),
        ({"estimator": "feature_maps", "players": {"groups": [[0, 1], [1]]}}, "feature map 1 is named twice"),
    ],
)
def test_options_that_exclude_each_other_are_refused_at_the_door(house: House, params: Any, reason: str) -> None:
    house.add_model()
    wrong = refused(submitted(house, **params), 422, "invalid_request")
    assert any(reason in detail for detail in wrong.values())
