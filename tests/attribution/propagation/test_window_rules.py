"""Relevance through Swin, MaxViT and ConvNeXt against rules written out, and through functions that hide a graph."""

import pytest
import torch
from torch import fx, nn

import attribution
from attribution import Network
from attribution.applicability import applicable_methods
from attribution.errors import NetworkError
from attribution.propagation.attention_rules import transformer_relevance
from tests.attribution.methods import slow_windows
from tests.attribution.transformers import (
    images,
    timm_swin,
    tiny_convnext,
    tiny_maxvit,
    tiny_swin,
    tiny_swin_v2,
)

TARGET = torch.tensor([0, 2])
NETWORKS = {
    "swin": (tiny_swin, slow_windows.swin, 16),
    "swin with windows that do not fit": (tiny_swin, slow_windows.swin, 20),
    "swin without biases": (lambda: without_biases(tiny_swin()), slow_windows.swin, 16),
    "swin v2": (tiny_swin_v2, slow_windows.swin, 16),
    "maxvit": (tiny_maxvit, slow_windows.maxvit, 32),
    "convnext": (tiny_convnext, slow_windows.convnext, 32),
}


def without_biases(module):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    return module


@pytest.mark.parametrize("rule", ["cp", "attn"])
@pytest.mark.parametrize("name", NETWORKS)
def test_windows_gates_and_norms_follow_the_rules_written_out(name, rule):
    build, forward, side = NETWORKS[name]
    module, inputs = build(), images(2, shape=(3, side, side))
    found = transformer_relevance(Network(module, (3, side, side)), inputs, TARGET, rule=rule)
    for row, target in enumerate(TARGET.tolist()):
        expected, logit = slow_windows.relevance(forward, module, inputs[row], target, rule)
        with torch.no_grad():
            torch.testing.assert_close(logit, module(inputs[row : row + 1])[0, target], rtol=1e-10, atol=1e-12)
        assert float(expected.abs().max()) > 1e-4
        torch.testing.assert_close(found.maps[row], expected, rtol=1e-7, atol=1e-11)
    if rule == "cp" or name == "convnext":
        assert float(found.convergence_delta.abs().max()) < 1e-11
    if "without" in name:
        assert all(float(one.abs().max()) == 0 for one in found.absorbed.values() if rule == "cp")


def test_swin_of_timm_has_the_relevance_of_the_same_weights_written_out():
    module, twin = timm_swin(), tiny_swin()
    own = {name: value for name, value in module.state_dict().items() if "index" not in name}
    theirs = [name for name in twin.state_dict() if "index" not in name]
    assert sorted(value.numel() for value in own.values()) == sorted(twin.state_dict()[name].numel() for name in theirs)
    for block, other in zip(blocks(module), (twin.features[1][0], twin.features[1][1], *twin.features[3]), strict=True):
        copy(block.norm1, other.norm1), copy(block.norm2, other.norm2)
        copy(block.attn.qkv, other.attn.qkv), copy(block.attn.proj, other.attn.proj)
        copy(block.mlp.fc1, other.mlp[0]), copy(block.mlp.fc2, other.mlp[3])
        other.attn.relative_position_bias_table.data.copy_(block.attn.relative_position_bias_table)
    copy(module.patch_embed.proj, twin.features[0][0]), copy(module.patch_embed.norm, twin.features[0][2])
    merging = module.layers[1].downsample
    copy(merging.norm, twin.features[2].norm), copy(merging.reduction, twin.features[2].reduction)
    copy(module.norm, twin.norm), copy(module.head.fc, twin.head)
    inputs = images(2, shape=(3, 16, 16))
    with torch.no_grad():
        torch.testing.assert_close(module(inputs), twin(inputs), rtol=1e-9, atol=1e-10)
    for rule in ("cp", "attn"):
        found, expected = (
            transformer_relevance(Network(one, (3, 16, 16)), inputs, TARGET, rule=rule) for one in (module, twin)
        )
        torch.testing.assert_close(found.maps, expected.maps, rtol=1e-8, atol=1e-11)


def blocks(module):
    return [block for layer in module.layers for block in layer.blocks]


def copy(source, destination):
    destination.load_state_dict(source.state_dict())


@pytest.mark.parametrize("build", [tiny_swin, tiny_maxvit, tiny_convnext])
def test_lrp_takes_them_by_itself_and_adds_up(build):
    side = 16 if build is tiny_swin else 32
    network, inputs = Network(build(), (3, side, side)), images(2, shape=(3, side, side))
    found = attribution.lrp(network, inputs, TARGET)
    assert found.rule == "cp_lrp"
    total = found.maps.flatten(1).sum(1) + found.absorbed_by_biases
    total = total + found.absorbed_by_embeddings + found.absorbed_by_tokens
    torch.testing.assert_close(total, network(inputs)[torch.arange(2), TARGET], rtol=1e-9, atol=1e-10)


def test_rows_of_windows_belong_to_their_image():
    network, inputs = Network(tiny_swin(), (3, 16, 16)), images(3, shape=(3, 16, 16))
    target = torch.tensor([0, 1, 2])
    together = transformer_relevance(network, inputs, target)
    for row in range(3):
        alone = transformer_relevance(network, inputs[row : row + 1], target[row : row + 1])
        torch.testing.assert_close(alone.maps[0], together.maps[row], rtol=1e-8, atol=1e-12)
        for name, shares in alone.absorbed.items():
            torch.testing.assert_close(shares[0], together.absorbed[name][row], rtol=1e-8, atol=1e-12)


class Gated(nn.Module):
    """A convolution whose channels a gate opens or closes, as squeeze and excitation has it."""

    def __init__(self, kind="sigmoid"):
        super().__init__()
        self.conv, self.inner = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 1)
        self.norm, self.head, self.kind = nn.LayerNorm(4), nn.Linear(4, 3), kind

    def forward(self, x):
        x, gates = self.conv(x), self.inner(x).mean((2, 3), keepdim=True)
        gates = torch.sigmoid(gates) if self.kind == "sigmoid" else nn.functional.hardsigmoid(gates)
        x = (gates.expand(-1, -1, x.shape[2], x.shape[3]) * x).mean((2, 3))
        return self.head(self.norm(x))


@pytest.mark.parametrize("rule", ["cp", "attn"])
@pytest.mark.parametrize("kind", ["sigmoid", "hardsigmoid"])
def test_a_gate_takes_nothing_and_what_it_lets_through_takes_all(kind, rule):
    torch.manual_seed(0)
    module, inputs = Gated(kind).double().eval(), images(2, shape=(3, 8, 8))
    found = transformer_relevance(Network(module, (3, 8, 8)), inputs, TARGET, rule=rule)
    for row, target in enumerate(TARGET.tolist()):
        image = inputs[row : row + 1].clone().requires_grad_()
        with torch.no_grad():
            gates = module.inner(image).mean((2, 3), keepdim=True)
            gates = torch.sigmoid(gates) if kind == "sigmoid" else nn.functional.hardsigmoid(gates)
        inner = (gates * module.conv(image)).mean((2, 3))
        module.head(slow_windows.normed(module.norm, inner))[0, target].backward()
        torch.testing.assert_close(found.maps[row], (image * image.grad)[0], rtol=1e-9, atol=1e-12)
    assert float(found.convergence_delta.abs().max()) < 1e-12


def by_values(x):
    return x * 2 if x.sum() > 0 else x


def in_place(x):
    x.view(-1).mul_(2.0)
    return x


def unruly(x):
    return torch.cumsum(x, 1)


def of_several(parts):
    return parts[0] + parts[1]


for function in (by_values, in_place, unruly, of_several):
    fx.wrap(function.__name__)


class Hiding(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.norm, self.head, self.function = nn.LayerNorm(48), nn.Linear(48, 3), function

    def forward(self, x):
        x = self.norm(x.flatten(1))
        x = globals()[self.function](x.chunk(2, 1) if self.function == "of_several" else x)
        return self.head(torch.cat([x, x], 1) if self.function == "of_several" else x)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("by_values", "by_values cannot be looked into: TraceError"),
        ("in_place", "in_place cannot be looked into: it changes view in place$"),
        ("unruly", r"unruly has an operation without a rule inside \(cumsum\)"),
        ("of_several", "of_several takes several tensors as one"),
    ],
)
def test_a_function_that_cannot_be_looked_into_is_refused_with_the_reason(function, reason):
    module = Hiding(function).double().eval()
    with pytest.raises(NetworkError, match=reason):
        transformer_relevance(Network(module, (3, 4, 4)), images(2, shape=(3, 4, 4)), TARGET)


def test_the_report_names_what_no_rule_is_for_and_not_what_transformers_rules_know():
    reason = applicable_methods(Network(Hiding("unruly").double().eval(), (3, 4, 4)))["lrp"]
    assert reason is not None
    assert "cumsum" in reason
    assert "LayerNorm" not in reason
