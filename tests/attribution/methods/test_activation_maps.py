"""Activation maps against plain hooks on an untouched module, sums and orders by hand, and bad input."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution import Network
from attribution.errors import InvalidInput, InvalidOption, NetworkError, OutOfMemory
from tests.attribution.tiny_models import MODELS, SHAPE, head, hungry, images, tiny_model
from tests.attribution.transformers import SHAPE as TOKENS
from tests.attribution.transformers import SIDE, tiny_vit
from tests.attribution.transformers import images as tokens

TRACED = [name for name, model in MODELS.items() if model.traced]


def look(module, inputs=None, **options):
    inputs = images() if inputs is None else inputs
    return attribution.activation_maps(Network(module, inputs.shape[1:]), inputs, **options)


def hooked(module, inputs, layers):
    """What modules put out, copied at once, of images one by one: nothing behind can change it in place any more."""
    module, kept = copy.deepcopy(module).eval(), {layer: [] for layer in layers}
    parts = dict(module.named_modules())
    for layer in layers:
        parts[layer].register_forward_hook(lambda _module, _inputs, out, layer=layer: kept[layer].append(out.clone()))
    with torch.no_grad():
        for image in inputs:
            module(image[None].clone())
    return {layer: torch.cat(values) for layer, values in kept.items()}


@pytest.mark.parametrize("name", TRACED)
def test_maps_are_what_each_convolution_put_out_whatever_happens_to_it_behind(name):
    module, inputs = tiny_model(name), images()
    layers = [layer for layer, part in module.named_modules() if isinstance(part, nn.Conv2d)]
    expected = hooked(module, inputs, layers)
    found = look(module, inputs, layers=layers, n_top=64)
    assert set(found.maps) == set(layers)
    for layer, values in expected.items():
        order = found.channels[layer][:, :, None, None].expand_as(values)
        torch.testing.assert_close(found.maps[layer], values.gather(1, order), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(found.sums[layer], values.sum((2, 3)), rtol=1e-9, atol=1e-12)


def test_a_sum_changed_in_place_and_a_rectifier_in_place_leave_what_was_in_front_of_them():
    module, inputs = tiny_model("residual"), images()
    found = look(module, inputs, layers=["stem", "bn1", "bn2", "relu"], n_top=4)
    known = hooked(module, inputs, ["stem", "bn1", "bn2"])
    for layer, values in known.items():
        torch.testing.assert_close(found.sums[layer], values.sum((2, 3)), rtol=1e-9, atol=1e-12)
        assert float(found.maps[layer].min()) < 0
    rectified = functional.relu(known["bn1"])
    torch.testing.assert_close(found.sums["relu"], rectified.sum((2, 3)), rtol=1e-9, atol=1e-12)


def test_the_sums_are_those_of_the_maps_and_put_them_in_order():
    found = look(tiny_model("residual"), layers="all")
    assert "input" in found.maps
    for layer, maps in found.maps.items():
        ordered = found.sums[layer].gather(1, found.channels[layer])
        torch.testing.assert_close(maps.sum((2, 3)), ordered, rtol=1e-9, atol=1e-9)
        assert torch.equal(ordered, ordered.sort(descending=True).values)
        assert found.channels[layer].shape[1] == min(9, found.sums[layer].shape[1])


def test_of_equal_sums_the_lower_channel_comes_first():
    module = nn.Sequential(nn.Conv2d(2, 5, 1), nn.ReLU(), head(5)).double()
    with torch.no_grad():
        module[0].weight.zero_()
        module[0].bias.copy_(torch.tensor([1.0, 2.0, 1.0, 2.0, 0.0]))
    found = look(module, layers=["0"], n_top=4)
    assert found.channels["0"].tolist() == [[1, 3, 0, 2]] * 3
    assert found.sums["0"][0].tolist() == [36.0, 72.0, 36.0, 72.0, 0.0]


def test_neurons_by_index_are_those_of_the_layer_in_the_order_asked_for():
    module = tiny_model("plain")
    every = look(module, layers=["0"], n_top=4)
    asked = look(module, layers=["0"], channels=[3, 0])
    assert asked.channels["0"].tolist() == [[3, 0]] * 3
    known = hooked(module, images(), ["0"])["0"]
    torch.testing.assert_close(asked.maps["0"], known[:, [3, 0]], rtol=1e-9, atol=1e-12)
    assert torch.equal(asked.sums["0"], every.sums["0"])


def test_rows_do_not_depend_on_each_other_nor_on_chunks():
    module, inputs = tiny_model("residual"), images(5)
    together, apart = look(module, inputs, layers="conv"), look(module, inputs, layers="conv", chunk_size=2)
    for layer, maps in together.maps.items():
        torch.testing.assert_close(apart.maps[layer], maps, rtol=1e-12, atol=1e-12)
        for row in range(5):
            alone = look(module, inputs[row : row + 1], layers="conv")
            torch.testing.assert_close(alone.maps[layer][0], maps[row], rtol=1e-12, atol=1e-12)
            assert torch.equal(alone.channels[layer][0], together.channels[layer][row])


def test_tokens_are_maps_of_their_patches_and_the_class_token_is_in_none():
    module, inputs, layer = tiny_vit(), tokens(2), "blocks.0.add:2"
    found = attribution.activation_maps(Network(module, TOKENS), inputs, layers=[layer], n_top=2)
    patches = hooked(module, inputs, ["blocks.0"])["blocks.0"][:, 1:].transpose(1, 2).unflatten(2, (SIDE, SIDE))
    torch.testing.assert_close(found.sums[layer], patches.sum((2, 3)), rtol=1e-9, atol=1e-12)
    assert torch.equal(found.channels[layer], patches.sum((2, 3)).topk(2).indices)
    shown = found.channels[layer][:, :, None, None].expand(-1, -1, SIDE, SIDE)
    torch.testing.assert_close(found.maps[layer], patches.gather(1, shown), rtol=1e-9, atol=1e-12)


def test_a_network_without_gradients_is_looked_into_as_well():
    class Stepped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(2, 4, 3, padding=1), head(4)

        def forward(self, x):
            return self.head(self.conv(x).detach())

    module = Stepped().double()
    network = Network(module, SHAPE)
    assert attribution.applicable_methods(network)["cam"] is not None
    assert attribution.applicable_methods(network)["activation_maps"] is None
    found = attribution.activation_maps(network, images(), layers="conv")
    known = hooked(module, images(), ["conv"])["conv"]
    torch.testing.assert_close(found.sums["conv"], known.sum((2, 3)), rtol=1e-9, atol=1e-12)


def test_half_precision_adds_up_in_double():
    module, inputs = tiny_model("plain", torch.bfloat16), images().bfloat16()
    found = look(module, inputs, layers=["0"], n_top=4)
    assert found.maps["0"].dtype is torch.bfloat16
    ordered = found.sums["0"].gather(1, found.channels["0"])
    torch.testing.assert_close(found.maps["0"].double().sum((2, 3)), ordered, rtol=1e-12, atol=0)


def test_chunks_are_halved_where_memory_runs_out():
    most = [3]
    module = hungry(tiny_model("plain"), most, torch.OutOfMemoryError("CUDA out of memory"))
    network = Network(module, SHAPE)
    expected = attribution.activation_maps(network, images(5), layers="conv", chunk_size=1)
    most[0] = 2
    found = attribution.activation_maps(network, images(5), layers="conv", chunk_size=4)
    assert found.chunk_size == 2
    assert all(torch.allclose(maps, expected.maps[layer]) for layer, maps in found.maps.items())
    most[0] = 0
    with pytest.raises(OutOfMemory):
        attribution.activation_maps(network, images(1), layers="conv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["0"], "channels": [4]}, "channels names 4, but layer '0' has the channels 0 to 3"),
        ({"channels": []}, "expected one or several neurons, each once"),
        ({"channels": [1, 1]}, "expected one or several neurons, each once"),
        ({"channels": [-1]}, "a channel"),
        ({"channels": [1], "n_top": 2}, "give one of them"),
        ({"n_top": 0}, "n_top"),
        ({"layers": ["nothing"]}, "no layer, kind or pattern"),
        ({"layers": ["2.1"]}, "no channels, height and width"),
    ],
)
def test_bad_options_are_told(options, message):
    with pytest.raises(InvalidOption, match=message):
        look(tiny_model("plain"), **options)


def test_networks_and_images_that_do_not_fit_are_told():
    with pytest.raises(NetworkError, match="graph"):
        look(tiny_model("untraceable"))
    with pytest.raises(NetworkError, match="height and width"):
        look(nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).double())
    with pytest.raises(InvalidInput):
        attribution.activation_maps(Network(tiny_model("plain"), SHAPE), torch.rand(2, 5))
    module = tiny_model("plain")
    module[0].bias.data.fill_(torch.inf)
    with pytest.raises(NetworkError, match="not finite"):
        look(module, layers=["0"])
