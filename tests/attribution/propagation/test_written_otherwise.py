"""Methods by rules on networks that were traced or exported, and on those whose attention is one module."""

import pytest
import torch
from torch import fx, nn

import attribution
from attribution.errors import InvalidOption, NetworkError
from tests.attribution.tiny_models import N_CLASSES, SHAPE, images, tiny_model

TARGET = torch.tensor([0, 2, 1])
BATCH = {0: torch.export.Dim.DYNAMIC}
METHODS = {
    "deeplift": {"baseline": torch.zeros(1, *SHAPE, dtype=torch.float64)},
    "lrp": {"rule": "gamma"},
    "guided_backprop": {},
    "deconvolution": {},
}
WAYS = {
    "traced": fx.symbolic_trace,
    "exported": lambda module: torch.export.export(module, (images(),), dynamic_shapes=(BATCH,)).module(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["batch_norm", "residual"])
def test_a_graph_of_the_network_has_its_maps(name, way):
    module = tiny_model(name).eval()
    plain, other = attribution.Network(module, SHAPE), attribution.Network(WAYS[way](module), SHAPE)
    for method, options in METHODS.items():
        expected, found = (getattr(attribution, method)(one, images(), TARGET, **options) for one in (plain, other))
        torch.testing.assert_close(found.maps, expected.maps, rtol=1e-9, atol=1e-12, msg=method)


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True)
        self.relu, self.linear = nn.ReLU(), nn.Linear(72, N_CLASSES)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.linear(self.relu(attended).flatten(1))


def test_attention_that_is_one_module_is_refused_by_name():
    network = attribution.Network(Attending().double(), SHAPE)
    with pytest.raises(NetworkError, match="deeplift has no rule for layer 'attention"):
        attribution.deeplift(network, images(), TARGET, **METHODS["deeplift"])
    with pytest.raises(NetworkError, match="no rule for layer 'attention"):
        attribution.lrp(network, images(), TARGET, rule="epsilon")


def test_attention_that_is_one_module_has_rules_of_its_own():
    network = attribution.Network(Attending().double(), SHAPE)
    found = attribution.lrp(network, images(), TARGET)
    assert found.rule == "cp_lrp"
    absorbed = found.absorbed_by_biases + found.absorbed_by_tokens + found.absorbed_by_embeddings
    total = found.maps.flatten(1).sum(1) + absorbed
    torch.testing.assert_close(total, network(images())[torch.arange(3), TARGET], rtol=1e-9, atol=1e-9)
    for option in ({"layers": "all"}, {"concept": attribution.Concept("linear", [0])}):
        with pytest.raises(InvalidOption, match="the rule cp_lrp hands relevance to the image alone"):
            attribution.lrp(network, images(), TARGET, **option)
