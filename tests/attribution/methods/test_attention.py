"""Maps of attention against the papers written out, twins, closed forms and networks that have none."""

import copy

import pytest
import torch
from torch import nn

import attribution
from attribution import Network
from attribution.errors import InvalidOption, NetworkError
from attribution.layerwise.attended import VARIANTS
from tests.attribution.methods.slow_attention import slow_legrad, slow_rollout
from tests.attribution.tiny_models import hungry, tiny_model
from tests.attribution.tiny_models import images as plain_images
from tests.attribution.transformers import FORMS, OF_LIBRARIES, SHAPE, images, timm_vit, tiny_swin, tiny_vit

SLOW = {"rollout": slow_rollout, "legrad": slow_legrad}
TARGET = torch.tensor([0, 2, 1])


def explain(module, inputs=None, target=TARGET, **options):
    inputs = images() if inputs is None else inputs
    options.setdefault("variants", VARIANTS)
    return attribution.attention(Network(module, inputs.shape[1:]), inputs, target, **options)


def assert_as_published(module, inputs):
    found = explain(module, inputs).maps
    for variant, slow in SLOW.items():
        expected = torch.stack([slow(module, *pair) for pair in zip(inputs.clone(), TARGET.tolist(), strict=True)])
        assert float(expected.max()) > 0
        torch.testing.assert_close(found[variant], expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_however_attention_is_written_the_maps_are_those_of_the_papers(form):
    assert_as_published(tiny_vit(form), images())


@pytest.mark.parametrize("name", OF_LIBRARIES)
def test_transformers_of_libraries_have_the_maps_of_the_papers(name):
    assert_as_published(OF_LIBRARIES[name](), images(shape=(3, 8, 8)))


def test_attention_that_a_library_writes_out_is_found_too():
    module = timm_vit()
    for block in module.blocks:
        block.attn.fused_attn = False
    assert_as_published(module, images(shape=(3, 8, 8)))


def test_one_block_of_one_head_by_hand():
    """Relevance in one block is the class token's row of what is positive in gradient times probability."""
    module = tiny_vit("written", depth=1)
    inputs = images()
    found = explain(module, inputs, variants="rollout").maps["rollout"]
    twin = explain(tiny_vit("module", depth=1), inputs, variants="rollout").maps["rollout"]
    torch.testing.assert_close(found, twin, rtol=1e-10, atol=1e-14)
    assert bool((found >= 0).all())


def test_a_probability_has_other_maps_than_a_logit_and_a_difference_of_classes_its_own():
    module, inputs, other = tiny_vit(), images(), torch.tensor([1, 0, 2])
    network = Network(module, SHAPE)
    plain = attribution.attention(network, inputs, TARGET).maps["rollout"]
    likely = attribution.attention(network.explaining("probability"), inputs, TARGET).maps["rollout"]
    assert not torch.allclose(plain, likely)
    against = attribution.attention(network, inputs, TARGET, against=other).maps["rollout"]
    weights = torch.zeros(3, 3, dtype=torch.float64)
    weights[torch.arange(3), other] = 1
    same = attribution.attention(network, inputs, TARGET, against=weights).maps["rollout"]
    torch.testing.assert_close(against, same, rtol=1e-10, atol=1e-14)
    assert not torch.allclose(against, plain)


def test_images_and_classes_do_not_depend_on_each_other():
    module, inputs = tiny_vit(), images(5)
    target = torch.stack([torch.arange(5) % 3, (torch.arange(5) + 1) % 3], dim=1)
    together = explain(module, inputs, target, chunk_size=2)
    assert together.maps["rollout"].shape == (5, 2, 3, 3)
    for row in range(5):
        for place in range(2):
            alone = explain(module, inputs[row : row + 1], target[row : row + 1, place]).maps
            for variant in VARIANTS:
                expected = together.maps[variant][row, place]
                torch.testing.assert_close(alone[variant][0], expected, rtol=1e-8, atol=1e-12)


def test_patches_lie_where_they_were_cut_out():
    assert explain(tiny_vit()).lattice[:2] == ((1.0, 1.0), (2.0, 2.0))


def test_the_callers_module_is_as_it_was_also_after_a_failure():
    module, most = tiny_vit(), [0]
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(RuntimeError, match="broken"):
        explain(module, progress=lambda done, total: (_ for _ in ()).throw(RuntimeError("broken")))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert all(torch.equal(one, before[name]) for name, one in module.state_dict().items())
    assert most == [0]


def test_without_a_class_token_rollout_is_refused_and_legrad_is_not():
    module = tiny_vit(reads="mean")
    with pytest.raises(NetworkError, match="come from 9 tokens: use legrad"):
        explain(module, variants="rollout")
    assert explain(module, variants="legrad").maps["legrad"].shape == (3, 3, 3)


class Turned(nn.Module):
    """Attention whose probabilities run over the queries."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = tiny_vit("written")
        for block in self.inner.blocks:
            block.attend = lambda x: (x @ x.transpose(1, 2)).softmax(1) @ x

    def forward(self, x):
        return self.inner(x)


class Talking(nn.Module):
    """Heads whose probabilities are mixed before they weight the values, in the middle one of three blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.mix = tiny_vit("written"), nn.Linear(2, 2)
        self.inner.blocks[1].attend = self.attend

    def attend(self, x):
        q = x.unflatten(2, (2, 4)).transpose(1, 2)
        weights = self.mix((q @ q.transpose(2, 3)).softmax(-1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return (weights @ q).transpose(1, 2).flatten(2)

    def forward(self, x):
        return self.inner(x)


class Linear(Talking):
    """Attention without a softmax in one of three blocks."""

    def attend(self, x):
        return (x @ x.transpose(1, 2)).relu() @ x


class Folded(Turned):
    """Heads folded into the batch: whose rows are whose is not known."""

    def __init__(self) -> None:
        super().__init__()
        for block in self.inner.blocks:
            block.attend = self.attend

    @staticmethod
    def attend(x):
        n, tokens, width = x.shape
        heads = x.reshape(n, tokens, 2, width // 2).transpose(1, 2).reshape(2 * n, tokens, width // 2)
        found = torch.bmm(torch.bmm(heads, heads.transpose(1, 2)).softmax(-1), heads)
        return found.reshape(n, 2, tokens, width // 2).transpose(1, 2).reshape(n, tokens, width)


class Hidden(nn.Module):
    """Blocks of torch, which are leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = tiny_vit()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dtype=torch.float64)
        self.inner.blocks = nn.Sequential(layer, copy.deepcopy(layer))

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize(
    ("build", "shape", "reason"),
    [
        (tiny_swin, (3, 16, 16), "hides its probabilities"),
        (Turned, SHAPE, "hides its probabilities"),
        (Talking, SHAPE, "hides its probabilities"),
        (Linear, SHAPE, "hides its probabilities"),
        (Folded, SHAPE, "whose places are known|attends in windows"),
        (Hidden, SHAPE, "hides its probabilities"),
        (lambda: tiny_vit("masked"), SHAPE, "with a mask"),
        (lambda: tiny_model("untraceable"), SHAPE, "found on the graph"),
        (lambda: tiny_model("residual"), SHAPE, "no attention in this network"),
    ],
)
def test_attention_that_is_not_seen_is_refused_with_the_reason(build, shape, reason):
    torch.manual_seed(0)
    module = build().double().eval()
    inputs = images(shape=shape) if shape != SHAPE else plain_images()
    with pytest.raises(NetworkError, match=reason):
        explain(module, inputs)


def test_the_report_says_why_it_does_not_apply():
    found = attribution.applicable_methods(Network(tiny_model("plain"), SHAPE))
    assert found["attention"] == "no attention in this network: use cam, layer_shapley or integrated_gradients"
    assert attribution.applicable_methods(Network(tiny_vit(), SHAPE))["attention"] is None


@pytest.mark.parametrize("variants", ["raw", []])
def test_unknown_variants_are_told(variants):
    with pytest.raises(InvalidOption, match="expected one"):
        explain(tiny_vit(), variants=variants)


def test_memory_that_runs_out_halves_the_chunk():
    network = Network(hungry(tiny_vit(), [3], RuntimeError("out of memory")), SHAPE)
    found = attribution.attention(network, images(5), torch.zeros(5).long(), chunk_size=5)
    assert found.chunk_size == 2
