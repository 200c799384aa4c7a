"""Classifiers of which the outputs are all that there is."""

import copy

import numpy as np
import pytest
import torch

import attribution
from attribution import Network
from attribution.errors import NetworkError
from attribution.networks.outputs_only import OutputsOnly
from attribution.quality.occlusion import occlusion_curves, random_maps

SHAPE = (3, 6, 6)
WEIGHTS = np.random.default_rng(0).normal(size=(108, 4)).astype(np.float32)
WHY = "this classifier is known by its outputs only (a table): layers and gradients of it do not exist here"


def table(**given):
    """A linear classifier that numpy computes, with the sizes of the batches that it has seen."""
    seen = []

    def outputs(images):
        assert not images.requires_grad
        seen.append(len(images))
        return torch.from_numpy(images.numpy().reshape(len(images), -1) @ WEIGHTS)

    return OutputsOnly(outputs, **({"kind": "a table", "n_parameters": 432, "n_bytes": 1728} | given)), seen


def images(n=2):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(0))


def test_a_network_of_it_has_outputs_and_nothing_else():
    network = Network(table()[0], SHAPE)
    torch.testing.assert_close(network(images()), images().flatten(1) @ torch.from_numpy(WEIGHTS))
    assert (network.graph, network.layers, network.head, network.no_gradients) == (None, (), None, WHY)
    assert (network.n_classes, network.n_parameters, network.n_bytes) == (4, 432, 1728)
    assert (network.dtype, network.link) == (torch.float32, "softmax")


def test_what_is_measured_of_it():
    network = Network(table()[0], SHAPE)
    verdicts = {check.name: check.verdict for check in network.report().checks}
    assert verdicts == {
        "same_function": "right",
        "graph": "unknown",
        "deterministic": "right",
        "rows": "right",
        "gradient_exists": "refused",
        "link": "right",
    }
    assert network.report().warnings == (f"{WHY}; only methods that need neither apply",)


def test_a_report_of_before_is_believed():
    checks = Network(table()[0], SHAPE).report().checks
    assert Network(table()[0], SHAPE, checks=checks, link="softmax").no_gradients == WHY


def test_images_are_run_one_at_a_time():
    module, seen = table()
    Network(module, SHAPE)(images(5))
    assert set(seen) == {1}


def test_what_makes_probabilities_is_found_out():
    def outputs(one):
        return torch.softmax(one.flatten(1) @ torch.from_numpy(WEIGHTS), 1)

    assert Network(OutputsOnly(outputs, kind="a table", n_parameters=0, n_bytes=0), SHAPE).link == "none"


def test_a_random_one_is_refused():
    module = OutputsOnly(lambda one: torch.rand(1, 4), kind="dice", n_parameters=0, n_bytes=0)
    with pytest.raises(NetworkError, match="random in evaluation mode"):
        Network(module, SHAPE)


def test_something_else_than_a_row_of_classes_is_refused():
    module = OutputsOnly(lambda one: one, kind="a mirror", n_parameters=0, n_bytes=0)
    with pytest.raises(NetworkError, match=r"returns shape \(1, 3, 6, 6\)"):
        Network(module, SHAPE)


def test_copies_share_the_function():
    module, seen = table()
    copy.deepcopy(module)(images(1))
    assert seen == [1]


def test_methods_that_need_more_say_so():
    found = attribution.applicable_methods(Network(table()[0], SHAPE))
    for method in ("saliency", "cam", "decomposition", "layer_shapley", "multiclass_importance"):
        assert (found[method] or "").startswith(f"{WHY}; ")


def test_methods_without_obstacles_that_need_no_gradients_apply_and_are_named(monkeypatch):
    monkeypatch.setattr("attribution.applicability._WITHOUT_GRADIENTS", frozenset({"decomposition", "saliency"}))
    found = attribution.applicable_methods(Network(table()[0], SHAPE))
    assert found["saliency"] is None
    assert found["cam"] == found["decomposition"] == f"{WHY}; methods that apply: saliency"


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient"])
def test_a_method_that_is_called_all_the_same(method):
    with pytest.raises(NetworkError, match="no gradients to explain with: this classifier is known by its outputs"):
        getattr(attribution, method)(Network(table()[0], SHAPE), images(), torch.tensor([0, 1]))


def test_occlusion_curves_are_those_of_the_same_network_in_torch():
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(108, 4, bias=False))
    linear[1].weight.data = torch.from_numpy(WEIGHTS.T.copy())
    maps, target = random_maps(images(), torch.Generator().manual_seed(1)), torch.tensor([0, 3])
    ours, theirs = (
        occlusion_curves(Network(module, SHAPE), images(), maps, target, n_steps=5) for module in (table()[0], linear)
    )
    torch.testing.assert_close(ours.prediction, theirs.prediction, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(ours.standard_deviation, theirs.standard_deviation, atol=1e-6, rtol=1e-4)
