"""Methods that are not of transformers alone, on them: completeness, and what is told of a layer."""

import pytest
import torch

import attribution
from attribution import Network
from attribution.errors import InvalidOption
from tests.attribution.transformers import OF_LIBRARIES, SHAPE, images, tiny_maxvit, tiny_swin, tiny_vit

TARGET = torch.tensor([0, 2, 1])
NETWORKS = {
    "tiny": (tiny_vit, SHAPE),
    "written out": (lambda: tiny_vit("written"), SHAPE),
    "swin": (tiny_swin, (3, 16, 16)),
} | {name: (build, (3, 8, 8)) for name, build in OF_LIBRARIES.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_layer_shapley_adds_up_at_every_layer_that_cuts(name):
    build, shape = NETWORKS[name]
    network, inputs = Network(build(), shape), images(shape=shape)
    background = 0 * inputs[:1]
    found = attribution.layer_shapley(network, inputs, TARGET, background=background, n_steps=129)
    with torch.no_grad():
        change = network(inputs) - network(background)
    change = change[torch.arange(3), TARGET]
    cutting = [layer.name for layer in network.layers if layer.cuts and layer.name in found.scores]
    assert len(cutting) > 8
    for layer in cutting:
        total = found.scores[layer].sum(1)
        assert float((total - change).abs().max()) < 2e-3 * float(change.abs().max()), layer
        torch.testing.assert_close(found.convergence_delta[layer], total - change, rtol=1e-6, atol=1e-9)
    for layer, maps in found.maps.items():
        placement = network.placements()[layer]
        assert maps.shape[1:] == placement.sizes
        # Channels and places add up alike; of tokens the class token's score has no place.
        first = found.scores[layer][:, : placement.first] if len(placement.axes) == 1 else torch.zeros(3, 0)
        total = maps.sum((1, 2)) + first.sum(1)
        torch.testing.assert_close(total, found.scores[layer].sum(1), rtol=1e-8, atol=1e-10)


def test_layers_of_swin_have_a_score_a_channel_and_a_map_of_rows_and_columns():
    network, inputs = Network(tiny_swin(), (3, 16, 16)), images(shape=(3, 16, 16))
    layer = "features.2.reduction"
    for estimator in ("path", "layer_path", "expected_gradients"):
        found = attribution.layer_shapley(
            network, inputs, TARGET, background=0 * inputs[:1], layers=[layer], estimator=estimator
        )
        assert (found.scores[layer].shape, found.maps[layer].shape) == ((3, 16), (3, 4, 4))
    with pytest.raises(InvalidOption, match="channels last"):
        attribution.layer_shapley(
            network, inputs, TARGET, background=0 * inputs[:1], layers=[layer], estimator="feature_maps"
        )


def test_windows_of_maxvit_are_no_feature_maps_and_what_lies_between_them_is():
    network, inputs = Network(tiny_maxvit(), (3, 32, 32)), images(2, shape=(3, 32, 32))
    found = attribution.layer_shapley(network, inputs, TARGET[:2], background=0 * inputs[:1], layers="all", n_steps=65)
    windows = [name for name in found.scores if "window_attention" in name or "grid_attention" in name]
    assert len(windows) > 100
    assert not found.maps.keys() & set(windows)
    for layer in ("stem.0.2", "blocks.0.layers.1.layers.MBconv.add", "blocks.1.layers.0.layers.MBconv.layers.conv_a.2"):
        shape = next(one.shape for one in network.layers if one.name == layer)
        assert found.maps[layer].shape == (2, *shape[1:])
        torch.testing.assert_close(found.maps[layer].sum((1, 2)), found.scores[layer].sum(1), rtol=1e-8, atol=1e-10)
    with torch.no_grad():
        change = (network(inputs) - network(0 * inputs[:1]))[torch.arange(2), TARGET[:2]]
    for layer in network.layers:
        if layer.cuts and layer.name in found.scores:
            gap = (found.scores[layer.name].sum(1) - change).abs().max()
            assert float(gap) < 5e-3 * float(change.abs().max()), layer.name


@pytest.mark.parametrize("name", NETWORKS)
def test_multiclass_importance_is_that_of_the_whole_jacobian(name):
    build, shape = NETWORKS[name]
    network, inputs = Network(build(), shape), images(2, shape=shape)
    found = attribution.multiclass_importance(network, inputs, mode="exact")
    for row, image in enumerate(inputs):
        jacobian = torch.autograd.functional.jacobian(lambda x: network(x[None])[0], image)
        matrix = (jacobian * image).flatten(1)
        centred = matrix - matrix.mean(0)
        importance = (centred * centred.sum(1, keepdim=True)).sum(0)
        torch.testing.assert_close(found.importance[row].flatten(), importance, rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(found.importance[row].sum(), centred.sum(1).square().sum(), rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(found.std[row].flatten(), centred.square().sum(0).sqrt(), rtol=1e-7, atol=1e-10)
