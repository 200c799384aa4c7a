"""One class against others: one pass gives the difference of the maps, complete against the difference of outputs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import attribution
from attribution import Network
from attribution.errors import InvalidTarget
from attribution.quality.occlusion import input_x_gradient_maps
from attribution.targets import Targets, targets_of
from tests.attribution.tiny_models import N_CLASSES, SHAPE, images, tiny_model

TARGET, AGAINST = torch.tensor([0, 2, 1]), torch.tensor([1, 0, 2])
NETWORKS = ("functional_relu", "residual", "reused_relu")
Found = dict[str, torch.Tensor]


def network(name: str, output: str = "logit") -> Network:
    return Network(tiny_model(name).double(), SHAPE, output=output)


def background() -> torch.Tensor:
    return images(2, seed=5).double()


def integrated(net: Network, x: torch.Tensor, target: torch.Tensor, **options: Any) -> Found:
    options.setdefault("n_steps", 4)
    found = attribution.integrated_gradients(net, x, target, background=background(), **options)
    return {"map": found.attributions, "delta": found.convergence_delta}


def layers(estimator: str, **options: Any) -> Callable[..., Found]:
    def explain(net: Network, x: torch.Tensor, target: torch.Tensor, **more: Any) -> Found:
        found = attribution.layer_shapley(
            net, x, target, background=background(), estimator=estimator, **{**options, **more}
        )
        return {**found.scores, **{f"map of {name}": values for name, values in found.maps.items()}}

    return explain


def gradient(net: Network, x: torch.Tensor, target: torch.Tensor, **options: Any) -> Found:
    return {"map": input_x_gradient_maps(net, x, target, **options)}


LINEAR: dict[str, Callable[..., Found]] = {
    "input_x_gradient": gradient,
    "integrated_gradients": integrated,
    "path": layers("path", n_steps=4),
    "layer_path": layers("layer_path", n_steps=3),
    "deeplift": layers("deeplift"),
    "expected_gradients": layers("expected_gradients", n_samples=3),
    "exact": layers("feature_maps", layers="conv", sampler="exact"),
    "permutations": layers("feature_maps", layers="conv", sampler="permutations", n_samples=40),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", LINEAR)
def test_the_map_of_one_class_against_another_is_the_difference_of_their_maps(name: str, method: str) -> None:
    net, x, explain = network(name), images().double(), LINEAR[method]
    against = explain(net, x, TARGET, against=AGAINST)
    own, other = explain(net, x, TARGET), explain(net, x, AGAINST)
    assert against.keys() == own.keys()
    for key, found in against.items():
        difference = own[key] - other[key]
        assert torch.allclose(found, difference, rtol=0, atol=1e-6), key
    assert max(float(found.abs().max()) for found in against.values()) > 1e-3


@pytest.mark.parametrize("method", ["integrated_gradients", "path", "exact"])
def test_weights_over_classes_are_the_weighted_difference(method: str) -> None:
    net, x, explain = network("residual"), images().double(), LINEAR[method]
    weights = torch.tensor([[0.0, 0.3, 0.7], [0.6, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    found = explain(net, x, TARGET, against=weights)
    parts = [explain(net, x, torch.full_like(TARGET, index)) for index in range(N_CLASSES)]
    for key, values in explain(net, x, TARGET).items():
        others = sum(weights[:, index].view(-1, *[1] * (values.dim() - 1)) * parts[index][key] for index in range(3))
        assert torch.allclose(found[key], values - others, rtol=0, atol=1e-9), key


def test_several_classes_of_an_image_each_have_their_own() -> None:
    net, x = network("residual"), images().double()
    target, against = torch.tensor([[0, 1], [2, 1], [1, 0]]), torch.tensor([[1, 2], [0, 0], [2, 1]])
    found = integrated(net, x, target, against=against)["map"]
    for place in range(2):
        alone = integrated(net, x, target[:, place], against=against[:, place])["map"]
        assert torch.allclose(found[:, place], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("output", ["logit", "log_probability", "probability"])
def test_maps_add_up_to_the_change_of_the_difference(output: str) -> None:
    net, x = network("functional_relu", output), images().double()
    found = attribution.integrated_gradients(
        net, x, TARGET, against=AGAINST, background=background(), tolerance=1e-4, max_steps=4000
    )
    with torch.no_grad():
        values = Targets(TARGET[:, None], AGAINST[:, None, None], torch.ones(3, 1, 1)).of(net(x))
        starts = Targets(TARGET[:, None], AGAINST[:, None, None], torch.ones(3, 1, 1)).of(
            net(background()).mean(0, keepdim=True).expand(3, -1)
        )
    change = (values - starts)[:, 0]
    assert torch.allclose(found.attributions.flatten(1).sum(1), change, rtol=1e-3, atol=1e-4)
    assert torch.allclose(found.attributions.flatten(1).sum(1) - change, found.convergence_delta, rtol=0, atol=1e-9)


def test_a_difference_of_log_probabilities_is_that_of_logits() -> None:
    x = images().double()
    logit, log = (
        integrated(network("residual", output), x, TARGET, against=AGAINST)["map"]
        for output in ("logit", "log_probability")
    )
    assert torch.allclose(logit, log, rtol=0, atol=1e-10)


def test_a_class_without_weight_may_have_an_infinite_output() -> None:
    outputs = torch.tensor([[2.0, -torch.inf, 1.0]], requires_grad=True)
    targets = targets_of(torch.tensor([0]), torch.tensor([[0.0, 0.0, 0.5]]), 1, outputs.device)
    value = targets.of(outputs)
    assert value.tolist() == [[1.5]]
    assert torch.autograd.grad(value.sum(), outputs)[0].tolist() == [[1.0, 0.0, -0.5]]


@pytest.mark.parametrize(
    ("against", "message"),
    [
        (torch.tensor([1, 2, 2]), "image 1 holds class 2 against itself"),
        (torch.tensor([1, 0]), r"against has shape \(2,\) for a batch of 3"),
        (torch.tensor([[1, 2], [0, 1], [2, 0]]), r"against has shape \(3, 2\), expected that of target, \(3,\)"),
        (torch.tensor([1, 0, 7]), "against contains 7, the network has the classes 0 to 2"),
        (torch.tensor([1, 0, -1]), "against contains -1, expected class indices from 0"),
        (torch.rand(3, 7), "against contains 6, the network has the classes 0 to 2"),
        (torch.rand(2, 3), r"against is torch.float32 \(2, 3\), expected classes, int64 \(3,\), or weights"),
        (torch.full((3, 3), torch.nan), "against contains NaN or infinity"),
        ([1, 0, 2], "against is list, expected a torch.int64 tensor"),
    ],
)
def test_what_does_not_fit_is_told(against: Any, message: str) -> None:
    with pytest.raises(InvalidTarget, match=message):
        integrated(network("residual"), images().double(), TARGET, against=against)
