"""Relevance through transformers against rules written out with detached tensors, LXT, twins and networks without."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution import Network
from attribution.errors import InvalidOption, NetworkError
from attribution.propagation.attention_rules import ABSORBERS, transformer_relevance
from tests.attribution.methods.slow_attention import parts
from tests.attribution.methods.slow_windows import Halved, normed
from tests.attribution.tiny_models import images as plain_images
from tests.attribution.tiny_models import tiny_model
from tests.attribution.transformers import FORMS, OF_LIBRARIES, SHAPE, images, timm_vit, tiny_vit

TARGET = torch.tensor([0, 2, 1])
RULES = ("cp", "attn")
#: LXT 2.1, its map of patches for torchvision's vision transformer: relevance summed over channels, every third pixel
#: of the first image, and the sum of each image's map.
OF_LXT = [
    [-0.008572895154998409, -0.008538628489807708, -0.004138838626080348],
    [0.01320860278613968, 0.017997357918491337, 0.009887922648398793],
    [0.022921676661225607, -0.01466903518586088, -0.007786864251765438],
]
SUMS_OF_LXT = [-1.371352171294766, -0.049669606193679106, -1.0835484740747323]


def explain(module, inputs=None, **options):
    inputs = images() if inputs is None else inputs
    return transformer_relevance(Network(module, inputs.shape[1:]), inputs, TARGET[: len(inputs)], **options)


class Quotient(nn.Module):
    def forward(self, x):
        return x * (functional.gelu(x) / x).detach()


def slow_relevance(module, image, target, rule):
    """Gradient times input of a forward pass with detached parts, as both papers suggest."""
    embed, blocks, _ = parts(module)
    image = image[None].clone().requires_grad_()
    x = embed(image)
    for first, weight, bias, out, second, _, heads in blocks:
        n, count, width = x.shape
        q, k, v = functional.linear(normed(first, x), weight, bias).chunk(3, dim=-1)
        q, k, v = (one.view(n, count, heads, width // heads).transpose(1, 2) for one in (q, k, v))
        if rule == "cp":
            probabilities = (q @ k.transpose(2, 3) / math.sqrt(width // heads)).softmax(-1).detach()
        else:
            q, k, v = Halved.apply(q), Halved.apply(k), Halved.apply(v)
            probabilities = Halved.apply((q @ k.transpose(2, 3) / math.sqrt(width // heads)).softmax(-1))
        x = x + out((probabilities @ v).transpose(1, 2).flatten(2))
        wide, narrow = linear_layers(module, len(blocks), second)
        x = x + narrow(Quotient()(wide(normed(second, x))))
    norm, head = ends(module)
    head(normed(norm, x)[:, 0])[0, target].backward()
    return (image * image.grad)[0].detach()


def linear_layers(module, count, second):
    """The two linear layers behind a norm."""
    inner = getattr(module, "something", module)
    if hasattr(inner, "conv_proj"):
        [block] = [one for one in inner.encoder.layers if one.ln_2 is second]
        return block.mlp[0], block.mlp[3]
    blocks = inner.blocks
    assert len(blocks) == count
    [block] = [one for one in blocks if getattr(one, "second", None) is second or getattr(one, "norm2", None) is second]
    return (block.wide, block.narrow) if hasattr(block, "wide") else (block.mlp.fc1, block.mlp.fc2)


def ends(module):
    inner = getattr(module, "something", module)
    return (inner.encoder.ln, inner.heads) if hasattr(inner, "conv_proj") else (inner.norm, inner.head)


NETWORKS = {form: (lambda form=form: tiny_vit(form), SHAPE) for form in FORMS} | {
    name: (build, (3, 8, 8)) for name, build in OF_LIBRARIES.items()
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_rules_are_those_of_the_papers_however_a_network_is_written(name, rule):
    build, shape = NETWORKS[name]
    module, inputs = build(), images(shape=shape)
    found = explain(module, inputs, rule=rule)
    for row, target in enumerate(TARGET.tolist()):
        expected = slow_relevance(module, inputs[row], target, rule)
        assert float(expected.abs().max()) > 1e-3
        torch.testing.assert_close(found.maps[row], expected, rtol=1e-8, atol=1e-12)


def test_the_conservative_rule_is_that_of_lxt():
    found = explain(OF_LIBRARIES["torchvision"](), images(shape=(3, 8, 8)))
    torch.testing.assert_close(found.maps.sum((1, 2, 3)), torch.tensor(SUMS_OF_LXT).double(), rtol=1e-6, atol=1e-7)
    expected = torch.tensor(OF_LXT, dtype=torch.float64)
    torch.testing.assert_close(found.maps[0].sum(0)[::3, ::3], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", NETWORKS)
def test_map_and_what_was_absorbed_add_up_to_the_logit(name):
    build, shape = NETWORKS[name]
    module, inputs = build(), images(shape=shape)
    found = explain(module, inputs)
    assert float(found.convergence_delta.abs().max()) < 1e-12
    with torch.no_grad():
        logits = module(inputs)[torch.arange(3), TARGET]
    total = found.maps.sum((1, 2, 3)) + sum(found.absorbed.values())
    torch.testing.assert_close(total, logits, rtol=1e-10, atol=1e-12)
    assert all(float(found.absorbed[name].abs().max()) > 1e-4 for name in ABSORBERS)
    # What the softmaxes keep by the other rule is told, not hidden.
    other = explain(module, inputs, rule="attn")
    total = other.maps.sum((1, 2, 3)) + sum(other.absorbed.values())
    torch.testing.assert_close(total - logits, other.convergence_delta, rtol=1e-10, atol=1e-12)
    assert float(other.convergence_delta.abs().max()) > 1e-3


def test_without_class_token_positions_and_biases_nothing_is_absorbed():
    module = tiny_vit(reads="mean")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias") or name in ("class_token", "positions"):
                parameter.zero_()
    found = explain(module)
    assert all(float(one.abs().max()) == 0 for one in found.absorbed.values())
    with torch.no_grad():
        logits = module(images())[torch.arange(3), TARGET]
    torch.testing.assert_close(found.maps.sum((1, 2, 3)), logits, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_one_class_against_another_is_the_difference_of_both_maps(rule):
    network, other = Network(tiny_vit(), SHAPE), torch.tensor([1, 0, 2])
    together = transformer_relevance(network, images(), TARGET, against=other, rule=rule)
    own, theirs = (transformer_relevance(network, images(), target, rule=rule) for target in (TARGET, other))
    torch.testing.assert_close(together.maps, own.maps - theirs.maps, rtol=0, atol=1e-10)
    for name in ABSORBERS:
        difference = own.absorbed[name] - theirs.absorbed[name]
        torch.testing.assert_close(together.absorbed[name], difference, rtol=0, atol=1e-10)


def test_images_and_classes_do_not_depend_on_each_other():
    network, inputs = Network(tiny_vit("written"), SHAPE), images(4)
    target = torch.tensor([[0, 1], [2, 0], [1, 2], [0, 2]])
    together = transformer_relevance(network, inputs, target, chunk_size=3)
    for row in range(4):
        for place in range(2):
            alone = transformer_relevance(network, inputs[row : row + 1], target[row : row + 1, place])
            torch.testing.assert_close(alone.maps[0], together.maps[row, place], rtol=1e-8, atol=1e-12)


def test_attention_that_timm_writes_out_has_the_same_relevance():
    module, inputs = timm_vit(), images(shape=(3, 8, 8))
    fused = explain(module, inputs, rule="attn").maps
    for block in module.blocks:
        block.attn.fused_attn = False
    torch.testing.assert_close(explain(module, inputs, rule="attn").maps, fused, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["plain", "residual", "batch_norm", "max_pool", "concatenation", "functional_in_place"]
)
def test_a_network_without_attention_keeps_all_but_its_biases(name):
    module, inputs = tiny_model(name).eval(), plain_images()
    found = explain(module, inputs)
    assert float(found.convergence_delta.abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("module", "shape", "reason"),
    [
        (lambda: tiny_vit("masked"), SHAPE, "with a mask"),
        (lambda: tiny_model("untraceable"), SHAPE, "needs the network's graph"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(module, shape, reason):
    with pytest.raises(NetworkError, match=reason):
        explain(module().eval(), images(shape=shape))


def test_other_outputs_and_unknown_rules_are_told():
    network = Network(tiny_vit(), SHAPE)
    with pytest.raises(NetworkError, match="explains logits"):
        transformer_relevance(network.explaining("probability"), images(), TARGET)
    with pytest.raises(InvalidOption, match="rule is 'gamma'"):
        transformer_relevance(network, images(), TARGET, rule="gamma")


@pytest.mark.parametrize(("rule", "name"), [("cp", "cp_lrp"), ("attn", "attn_lrp")])
@pytest.mark.parametrize("target", [TARGET, torch.stack([TARGET, (TARGET + 1) % 3], 1)], ids=["one class", "two"])
def test_lrp_hands_relevance_back_by_them(rule, name, target):
    network = Network(tiny_vit().double(), SHAPE)
    expected = transformer_relevance(network, images(), target, rule=rule)
    found = attribution.lrp(network, images(), target, rule=name)
    torch.testing.assert_close(found.maps, expected.maps, rtol=0, atol=0)
    logits = network(images())
    at = logits[torch.arange(len(TARGET)), target] if target.dim() == 1 else logits.gather(1, target)
    torch.testing.assert_close(found.explained, at, rtol=1e-9, atol=1e-9)
    parts = found.absorbed_by_biases + found.absorbed_by_tokens + found.absorbed_by_embeddings
    rest = found.maps.flatten(-3).sum(-1) + parts - found.explained
    torch.testing.assert_close(rest, found.convergence_delta, rtol=1e-9, atol=1e-9)
    assert attribution.lrp(network, images(), target).rule == "cp_lrp"
