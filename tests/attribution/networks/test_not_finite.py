"""Maps that are not finite are errors that name the images; another baseline, or other images, are explained."""

import pytest
import torch

import attribution
from attribution import Smooth
from attribution.errors import NetworkError
from attribution.quality.occlusion import occlusion_curves
from tests.attribution.networks.references import Classifier, Untraceable, built, pooled
from tests.attribution.tiny_models import SHAPE, images

TARGET = torch.tensor([0, 1, 2])
FLAT = torch.zeros(1, *SHAPE, dtype=torch.float64)


def logits(self, x):
    return self.head(pooled(self.features(x)))


def standardised(x):
    return (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)


def of_unit_norm(x):
    return x / x.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def over_its_mean_size(x):
    return x * (1 / x.abs().mean((1, 2, 3), keepdim=True)).clamp(max=torch.inf)


#: Each gives NaN or infinity for an image of zeros.
FUNCTIONS = {"standardised": standardised, "of unit norm": of_unit_norm, "over its mean size": over_its_mean_size}
pytestmark = [
    pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS),
    pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"]),
]


@pytest.fixture
def network(function, wrapped):
    return attribution.Network(built(lambda: wrapped(Classifier(lambda self, x: logits(self, function(x))))), SHAPE)


RULES = {
    "by default": {},
    "trapezoid": {"quadrature": "trapezoid"},
    "midpoint": {"quadrature": "midpoint"},
    "right": {"quadrature": "right", "n_steps": 3},
    "tolerance": {"tolerance": 0.01},
}


def refused(what, rows="0, 1, 2"):
    return pytest.raises(NetworkError, match=rf"^{what} of images {rows} are not finite: .* use another baseline, or")


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
def test_integrated_gradients_from_a_baseline_without_outputs(network, options):
    with refused("attributions"):
        attribution.integrated_gradients(network, images(), TARGET, baseline=FLAT, **options)
    with refused("attributions"):
        attribution.integrated_gradients(network, images(), TARGET[:, None].expand(-1, 2), baseline=FLAT, **options)


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
def test_integrated_gradients_of_an_image_without_outputs(network, options):
    inputs = torch.cat([images(1), FLAT, images(1, seed=5)])
    with refused("attributions", "1"):
        attribution.integrated_gradients(network, inputs, TARGET, baseline=images(1, seed=7), **options)


@pytest.mark.parametrize("n_steps", [1, 5], ids="{} nodes".format)
@pytest.mark.parametrize("quadrature", ["gauss_legendre", "midpoint"])
def test_integrated_gradients_through_a_point_without_outputs(network, quadrature, n_steps):
    baseline = images(1, seed=7)
    inputs = torch.cat([-baseline, images(1), -baseline])
    with refused("attributions", "0, 2"):
        attribution.integrated_gradients(
            network, inputs, TARGET, baseline=baseline, quadrature=quadrature, n_steps=n_steps
        )


def test_integrated_gradients_of_noisy_copies_and_several_baselines(network):
    options = {"smooth": Smooth(torch.Generator().manual_seed(0), n_samples=3, noise=0.1)}
    with refused("attributions"):
        attribution.integrated_gradients(network, images(), TARGET, baseline=FLAT, **options)
    with refused("attributions"):
        attribution.integrated_gradients(network, images(), TARGET, background=torch.cat([images(1, seed=7), FLAT]))


@pytest.mark.parametrize("mode", ["exact", "sketch", "importance"])
def test_importance(network, mode):
    inputs = torch.cat([images(1), FLAT, FLAT])
    with refused("maps", "1, 2"):
        attribution.multiclass_importance(network, inputs, mode=mode)
    with refused("maps"):
        attribution.multiclass_importance(
            network, images(), mode=mode, attribution="integrated_gradients", baseline=FLAT
        )


@pytest.mark.parametrize("insert", [False, True], ids=["deletion", "insertion"])
def test_occlusion_curves(network, insert):
    options = {"n_steps": 3, "positive_only": False, "insert": insert}
    with refused("predictions"):
        occlusion_curves(network, images(), images(seed=7), TARGET, **options)
    inputs = torch.cat([images(2), FLAT])
    with refused("predictions", "2"):
        occlusion_curves(network, inputs, images(seed=7), TARGET, baseline=images(1, seed=9), **options)


def test_what_has_outputs_is_explained_afterwards(network, function):
    with refused("attributions"):
        attribution.integrated_gradients(network, images(), TARGET, baseline=FLAT)
    module = built(lambda: Classifier(lambda self, x: logits(self, function(x))))
    tilted = images(2) + torch.linspace(0, 3, FLAT.numel(), dtype=torch.float64).view(1, *SHAPE)
    found = attribution.integrated_gradients(network, tilted, TARGET[:2], baseline=tilted.flip(0) + 5)
    assert bool(found.attributions.isfinite().all())
    curves = occlusion_curves(network, images(), images(seed=7), TARGET, baseline=images(1, seed=9), n_steps=3)
    assert bool(curves.prediction.isfinite().all())
    with torch.no_grad():
        assert torch.allclose(curves.prediction[:, 0], module(images()).softmax(1).gather(1, TARGET[:, None])[:, 0])
