"""Layer Shapley on networks of the field, at every layer."""

import pytest
import torch
import torchvision
from torch import nn

import attribution
from attribution.methods.layer_shapley import layer_shapley
from tests.attribution.methods import slow_layer_shapley as slow

#: Builder and its options; with in-place activations as they come, and random weights.
NETWORKS = {
    "resnet18": {},
    "densenet121": {},
    "googlenet": {"aux_logits": True, "init_weights": False},
    "mobilenet_v2": {},
    "efficientnet_b0": {},
    "vgg19": {},
}
TARGET = torch.tensor([1])


def build(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = getattr(torchvision.models, name)(num_classes=3, **NETWORKS[name])
        if name == "vgg19":
            # Its own head has 120 million weights.
            module.avgpool, module.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, 3)
            for part in module.modules():
                if isinstance(part, nn.Conv2d):
                    # As initialised, the biases are zero and the signal of 19 layers is lost in rounding.
                    nn.init.normal_(part.bias, std=0.1)
        norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
        for part in norms:
            part.momentum = 1.0
        if norms:
            # Statistics of what flows, or else hardly anything arrives at the end of a deep network.
            with torch.no_grad():
                module.double()(pictures(4, 2))
    return module.double().eval()


def pictures(count, seed):
    return torch.randn(count, 3, 48, 48, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def explain(network, **options):
    return layer_shapley(network, pictures(1, 0), TARGET, background=pictures(1, 1), **options)


def whole_change(network):
    return float(network(pictures(1, 0))[0, 1] - network(pictures(1, 1))[0, 1])


@pytest.fixture(params=NETWORKS)
def module(request):
    return build(request.param)


def test_every_layer_against_the_slow_reference_and_its_cuts(module):
    network = attribution.Network(module)
    found = explain(network, n_steps=3, raw="all")
    expected = {
        # These modules are traced through, to the function that they call.
        name + ".stochastic_depth" * name.endswith("stochastic_depth"): values
        for name, values in slow.every_path(module, pictures(1, 0)[0], pictures(1, 1)[0], 1, 3).items()
    }
    assert expected.keys() <= found.scores.keys()
    for name, values in expected.items():
        tolerance = 1e-7 * max(float(values.abs().max()), 1e-9)
        assert float((found.raw[name][0] - values).abs().max()) <= tolerance, name
        assert torch.allclose(found.scores[name][0], values.flatten(1).sum(1) if values.dim() > 1 else values)
    # What hooks cannot see: additions, concatenations, flattening, functions.
    functions = found.scores.keys() - expected.keys() - {"input"}
    assert functions == {layer.name for layer in network.layers} - expected.keys()

    exact = explain(network, estimator="deeplift")
    change = whole_change(network)
    assert abs(change) > 1e-4
    cuts = [layer.name for layer in network.layers if layer.cuts]
    assert len(cuts) > 5
    assert exact.scores.keys() == found.scores.keys()
    for name in ["input", *cuts]:
        assert float(exact.scores[name].sum()) == pytest.approx(change, rel=1e-6), name


def test_path_converges_at_every_cut():
    # Smooth, with products of branches in every block; on a short path, where few steps show the order.
    network = attribution.Network(build("efficientnet_b0"), (3, 48, 48))
    near = torch.lerp(pictures(1, 0), pictures(1, 1), 1e-4)
    change = float(network(pictures(1, 0))[0, 1] - network(near)[0, 1])
    coarse, fine = (
        layer_shapley(network, pictures(1, 0), TARGET, background=near, n_steps=n_steps).convergence_delta
        for n_steps in (9, 17)
    )
    cuts = [layer.name for layer in network.layers if layer.cuts]
    gaps = [torch.stack([deltas[name] for name in cuts]).abs() for deltas in (coarse, fine)]
    assert float(gaps[1].max()) < 1e-3 * abs(change)
    # Over all of them, for at some layers the leading terms of the error happen to cancel.
    assert float(gaps[0].norm() / gaps[1].norm()) == pytest.approx(4, rel=0.05)


def test_branches_and_shortcut_make_up_the_whole():
    network = attribution.Network(build("resnet18"), (3, 48, 48))
    for estimator, options in (("path", {"n_steps": 3}), ("deeplift", {})):
        found = explain(network, estimator=estimator, layers="layer2.0*", **options)
        parts = found.scores["layer2.0.bn2"] + found.scores["layer2.0.downsample.1"]
        assert torch.allclose(parts, found.scores["layer2.0.add"])
        assert bool(found.convergence_delta["layer2.0.bn2"].isnan())


class Windows(nn.Module):
    """Folds windows into the batch, as some transformers do."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x).tanh()
        folded = self.inner(x.reshape(-1, 4, 2, 24, 48).transpose(1, 2).reshape(-1, 4, 24, 48)).tanh()
        return self.head(folded.reshape(-1, 2, 4, 24, 48).mean((1, 3, 4)))


def test_windows_folded_into_the_batch_are_left_out_of_all_and_refused_by_name():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = attribution.Network(Windows().double())
    found = explain(network, n_steps=65)
    assert {"inner", "tanh:2"}.isdisjoint(found.scores)
    for name in ("input", "stem", "tanh", "mean", "head"):
        assert float(found.scores[name].sum()) == pytest.approx(whole_change(network), rel=1e-3), name
    for estimator in ("path", "layer_path", "expected_gradients", "deeplift"):
        with pytest.raises(attribution.errors.NetworkError, match="along the first"):
            explain(network, estimator=estimator, layers=["inner", "head"])
