"""What a layer answers over a data set, against hooks on the module."""

import pytest
import torch
from torch import nn

from attribution import Network
from attribution.data_sets.extremes import extremes
from attribution.errors import InvalidOption, NetworkError
from attribution.layerwise.responses import layer_extremes, over_layer, representation_of
from tests.attribution.tiny_models import Residual


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return Residual().eval()


def images(count=13):
    draw = torch.Generator().manual_seed(2)
    return torch.randn(count, 2, 6, 6, generator=draw), torch.arange(count) % 3


def hooked(module, name, inputs):
    kept = []
    handle = module.get_submodule(name).register_forward_hook(lambda *given: kept.append(given[2].clone()))
    with torch.no_grad():
        module(inputs)
    handle.remove()
    return kept[0]


@pytest.mark.parametrize("layer", ["stem", "bn2", "head.1"])
def test_it_is_what_hooks_see(module, layer):
    inputs, labels = images()
    values = hooked(module, layer, inputs)
    wanted = extremes(values.view(len(values), values.shape[1], *(values.shape[2:] or (1, 1))), range(5, 18), 3)
    batches = list(zip(inputs.split(4), labels.split(4), strict=True))
    found = layer_extremes(Network(module), batches, layer, n=3, start=5, chunk_size=3)
    assert torch.equal(found.most.positions, wanted.most.positions)
    assert torch.equal(found.least.positions, wanted.least.positions)
    assert torch.equal(found.most.places, wanted.most.places)
    assert torch.allclose(found.most.values, wanted.most.values, atol=1e-5)


def test_the_last_layer_with_places_unless_told(module):
    inputs, labels = images()
    found = layer_extremes(Network(module), [(inputs, labels)])
    assert found.sizes == (6, 6)
    assert len(found.mean) == 4


def test_vectors_of_images(module):
    inputs, labels = images()
    found = []
    over_layer(
        Network(module), [(inputs, labels)], "stem", lambda maps, _, __: found.append(representation_of(maps, "flat"))
    )
    assert torch.allclose(torch.cat(found), hooked(module, "stem", inputs).flatten(1), atol=1e-5)
    assert representation_of(torch.ones(2, 3, 4, 4), "mean").tolist() == [[1.0] * 3] * 2


def test_wrong_layers_are_told(module):
    batch = [images()]
    with pytest.raises(InvalidOption, match="no layer's name"):
        layer_extremes(Network(module), batch, "nowhere")
    with pytest.raises(InvalidOption, match="form"):
        representation_of(torch.ones(1, 1, 1, 1), "median")
    flat = nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).eval()
    with pytest.raises(NetworkError, match="no layer has"):
        layer_extremes(Network(flat), batch)
    assert layer_extremes(Network(flat), batch, "1").sizes == (1, 1)
