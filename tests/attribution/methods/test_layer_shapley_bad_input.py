import math

import pytest
import torch
from torch import nn

import attribution
from attribution.errors import Cancelled, InvalidInput, InvalidOption, InvalidTarget, NetworkError, OutOfMemory
from attribution.shapley.players import Cells
from tests.attribution.tiny_models import SHAPE, images, tiny_model

TARGET = torch.tensor([0, 2, 1])
GENERATOR = torch.Generator()


def explain(inputs=None, target=TARGET, name="plain", **options):
    inputs = images() if inputs is None else inputs
    options.setdefault("background", images(2, seed=5))
    return attribution.layer_shapley(attribution.Network(tiny_model(name), SHAPE), inputs, target, **options)


@pytest.mark.parametrize("n_steps", [0, 1, -1, 10**9, math.nan, math.inf, 5.0, True, "5"])
def test_steps_out_of_range(n_steps):
    with pytest.raises(InvalidOption, match="n_steps"):
        explain(n_steps=n_steps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "shap"}, "expected one of path, expected_gradients, layer_path, deeplift, feature_maps"),
        ({"estimator": "deeplift", "n_steps": 4}, "deeplift takes none: leave it out, or use path or layer_path"),
        ({"estimator": "expected_gradients", "n_steps": 4}, "n_steps is given"),
        ({"estimator": "layer_path", "tolerance": 0.1}, "tolerance is given"),
        ({"n_samples": 4}, "use expected_gradients or feature_maps"),
        ({"generator": GENERATOR}, "generator is given"),
        ({"players": "feature_maps"}, "players is given"),
        ({"sampler": "exact"}, "sampler is given"),
        ({"excluded": "mean"}, "excluded is given"),
        ({"estimator": "expected_gradients", "n_samples": 0}, "n_samples is 0"),
        ({"estimator": "layer_path", "n_steps": 0}, "n_steps is 0"),
        ({"layers": "conv9"}, "conv9"),
        ({"raw": "conv9"}, "conv9"),
        ({"estimator": "feature_maps", "layers": "0", "raw": "0"}, "raw is given"),
        ({"chunk_size": 0}, "chunk_size"),
    ],
)
def test_options_out_of_range_or_at_odds(options, message):
    with pytest.raises(InvalidOption, match=message):
        explain(**options)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([0, 1]), r"shape \(2,\) for a batch of 3"),
        (TARGET.float(), r"torch.int64"),
        ([0, 2, 1], "list"),
        (TARGET + 1, "contains 3, the network has the classes 0 to 2"),
        (TARGET - 1, "contains -1"),
    ],
)
def test_targets_that_do_not_fit(target, message):
    with pytest.raises(InvalidTarget, match=message):
        explain(target=target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": images()[0]}, "unsqueeze"),
        ({"inputs": images() * math.nan}, "NaN or infinity"),
        ({"background": None}, "background is a NoneType"),
        ({"background": images(2).float()}, "background is torch.float32"),
        ({"background": images(2)[..., :3]}, "background has shape"),
        ({"background": images(2)[:0]}, "none of them 0"),
        ({"estimator": "expected_gradients", "generator": [GENERATOR]}, "1 generators for 3 images"),
    ],
)
def test_inputs_and_backgrounds_that_do_not_fit(options, message):
    with pytest.raises(InvalidInput, match=message):
        explain(**options)


@pytest.mark.parametrize("estimator", ["path", "expected_gradients", "layer_path", "deeplift", "feature_maps"])
def test_a_network_without_graph_is_told_apart(estimator):
    with pytest.raises(NetworkError, match=r"needs? the network's graph"):
        explain(name="untraceable", estimator=estimator)
    assert (
        attribution.applicable_methods(attribution.Network(tiny_model("untraceable"), SHAPE))["layer_shapley"]
        is not None
    )
    assert attribution.applicable_methods(attribution.Network(tiny_model("plain"), SHAPE))["layer_shapley"] is None


def test_deeplift_names_the_layer_without_a_rule():
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Softmax(1), nn.Flatten(), nn.Linear(64, 3)).double()
    with pytest.raises(NetworkError, match="no rule for layer '1'"):
        attribution.layer_shapley(
            attribution.Network(module, SHAPE), images(), TARGET, background=images(1), estimator="deeplift"
        )


# Memory, progress and cancelling.


@pytest.mark.parametrize(
    "options",
    [
        {"n_steps": 9},
        {"estimator": "expected_gradients"},
        {"estimator": "deeplift"},
        {"tolerance": 0.1, "max_steps": 33},
    ],
)
def test_halves_the_chunk_when_memory_runs_out(monkeypatch, options):
    expected = explain(name="residual", raw="bn2", chunk_size=2, **options)
    network = attribution.Network(tiny_model("residual"), SHAPE)
    network(images(1))
    run = network.graph.bn2.forward

    def scarce(points):
        if len(points) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return run(points)

    monkeypatch.setattr(network.graph.bn2, "forward", scarce)
    found = attribution.layer_shapley(
        network, images(), TARGET, background=images(2, seed=5), raw="bn2", chunk_size=8, **options
    )
    assert found.chunk_size <= 2
    for name, scores in expected.scores.items():
        assert torch.allclose(found.scores[name], scores, rtol=1e-9, atol=1e-12)
    assert torch.allclose(found.raw["bn2"], expected.raw["bn2"], rtol=1e-9, atol=1e-12)


def test_one_point_that_does_not_fit_is_an_error(monkeypatch):
    network = attribution.Network(tiny_model("residual"), SHAPE)
    network(images(1))

    def scarce(points):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(network.graph.bn2, "forward", scarce)
    with pytest.raises(OutOfMemory, match="one point does not fit"):
        attribution.layer_shapley(network, images(), TARGET, background=images(2, seed=5))


@pytest.mark.parametrize("estimator", ["path", "expected_gradients", "layer_path", "deeplift", "feature_maps"])
def test_progress_ends_where_it_said_and_may_cancel(estimator):
    seen = []
    explain(estimator=estimator, layers=["0", "1"], chunk_size=5, progress=lambda *step: seen.append(step))
    assert len(seen) > 1
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)

    def cancel(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        explain(estimator=estimator, layers=["0", "1"], chunk_size=5, progress=cancel)


# Feature maps as players: what each layer's own game says.


def test_feature_maps_are_each_layers_own_values():
    network = attribution.Network(tiny_model("residual"), SHAPE)
    options = {"background": images(2, seed=5), "estimator": "feature_maps"}
    found = attribution.layer_shapley(network, images(), TARGET, layers=["conv1", "bn2"], **options)
    assert list(found.scores) == ["conv1", "bn2"]
    assert found.scores["conv1"].shape == (3, 4)
    assert found.maps == {}
    assert max(float(delta.abs().max()) for delta in found.convergence_delta.values()) < 1e-9
    cells = attribution.layer_shapley(network, images(), TARGET, layers="bn2", players=Cells(2, 3), **options)
    assert cells.maps["bn2"].shape == (3, 2, 3)
    assert torch.equal(cells.maps["bn2"].flatten(1), cells.scores["bn2"])


def test_peak_memory_is_reported():
    assert explain(n_steps=2).peak_bytes > 2**20


def test_raw_layers_are_among_the_layers():
    module, inputs = tiny_model("residual"), images()
    options = {"background": inputs[:1], "n_steps": 2}
    network, target = attribution.Network(module, SHAPE), torch.zeros(len(inputs), dtype=torch.int64)
    with pytest.raises(InvalidOption, match="raw names 'conv2', but layers leaves that out"):
        attribution.layer_shapley(network, inputs, target, layers=["conv1"], raw=["conv2"], **options)
    found = attribution.layer_shapley(network, inputs, target, layers=["conv1"], raw=["conv"], **options)
    assert set(found.raw) == {"conv1"}
