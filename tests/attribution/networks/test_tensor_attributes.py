"""Attributes that carry values, and parts of several tensors, are on the way: rules, cuts and heads see them."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution.errors import NetworkError
from attribution.propagation.relevance import relevance_pass
from tests.attribution.networks.references import Classifier, assert_explains, built, distance, one_by_one, pooled
from tests.attribution.tiny_models import SHAPE, images

TARGET = torch.tensor([0, 1, 2])
BASELINE = torch.full((1, *SHAPE), 0.1, dtype=torch.float64)


def mixer(turned):
    """Returns what makes a token mixer that turns tokens and channels about by ``turned``."""

    def forward(self, x):
        tokens = turned(self.features(x).flatten(2))
        tokens = tokens + self.down(torch.relu(self.up(tokens)))
        tokens = tokens + turned(torch.relu(self.mix(turned(tokens))))
        return self.head(tokens.mean(1))

    return lambda: Classifier(forward, up=nn.Linear(4, 8), down=nn.Linear(8, 4), mix=nn.Linear(16, 16))


def flat(function):
    """Returns what makes a network whose features ``(batch, 4, 16)`` become the head's four by a function."""
    return lambda: Classifier(lambda self, x: self.head(function(self.features(x).flatten(2))))


def halves(values):
    first, second = values.split(2, dim=1)
    return torch.cat([first.mean(2), torch.relu(second).sum(2)], 1)


def extremes(values):
    found = torch.aminmax(values, dim=2)
    return found.max - 0.5 * found.min


def ends(values):
    parts = values.unbind(2)
    return torch.relu(parts[0]) - parts[-1]


ATTRIBUTES = {
    "mT": mixer(lambda x: x.mT),
    "mH": mixer(lambda x: x.mH),
    "transpose(1, 2).real": mixer(lambda x: x.transpose(1, 2).real),
    "T": lambda: Classifier(lambda self, x: (self.head.weight @ torch.tanh(pooled(self.conv(x))).T).T),
    "H": lambda: Classifier(lambda self, x: (self.head.weight @ torch.tanh(pooled(self.conv(x))).H).H),
    "a part of complex numbers": flat(lambda x: torch.fft.rfft(x).real[..., 1:4].sum(2)),
}
PARTS = {
    "max().values": flat(lambda x: x.max(2).values),
    "max()[0]": flat(lambda x: x.max(dim=2)[0]),
    "min().values": flat(lambda x: torch.min(x, 2).values),
    "median().values": flat(lambda x: x.median(2).values),
    "aminmax()": flat(extremes),
    "topk().values": flat(lambda x: x.topk(3, dim=2).values.mean(2)),
    "kthvalue()[0]": flat(lambda x: x.kthvalue(2, dim=2)[0]),
    "sort().values": flat(lambda x: x.sort(2).values[..., -3:].sum(2)),
    "cummax().values": flat(lambda x: x.cummax(2).values.mean(2)),
    "var_mean()": flat(lambda x: torch.var_mean(x, dim=2)[0]),
    "split()": flat(halves),
    "chunk()": flat(lambda x: torch.relu(x.chunk(4, 2)[1]).sum(2) - x.chunk(2, 2)[0].mean(2)),
    "tensor_split()": flat(lambda x: torch.relu(x.tensor_split((4, 9), 2)[1]).mean(2)),
    "unbind()": flat(ends),
}
ALL = ATTRIBUTES | PARTS
#: Those that copy values, all operations of which have rules.
WITH_RULES = {"mT", "mH", "transpose(1, 2).real", "T", "H", "split()", "chunk()", "tensor_split()", "unbind()"}


def changes(module):
    """Returns how the targets' logits differ from those of the baseline."""
    return (one_by_one(module, images()) - one_by_one(module, BASELINE)).gather(1, TARGET[:, None])[:, 0]


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_networks_with_them_are_traced_and_explained(make):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    assert network.report().traced
    assert_explains(network, module)


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_every_cut_accounts_for_the_change_of_the_logit(make):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    found = attribution.layer_shapley(network, images(), TARGET, background=BASELINE, n_steps=300)
    cuts = [layer.name for layer in network.layers if layer.cuts and layer.name in found.scores]
    assert {"conv", "tanh"} <= set(cuts)
    for name in ("input", *cuts):
        assert distance(found.scores[name].sum(1), changes(module)) < 0.02, name


@pytest.mark.parametrize("name", ALL)
def test_deeplift_is_complete_or_refused_by_what_has_no_rule(name):
    module = built(ALL[name])
    network = attribution.Network(module, SHAPE)
    options = {"background": BASELINE, "layers": "input", "estimator": "deeplift"}
    if name not in WITH_RULES:
        with pytest.raises(NetworkError, match=r"deeplift has no rule for layer '.+'.*; use input_x_gradient or"):
            attribution.layer_shapley(network, images(), TARGET, **options)
        return
    found = attribution.layer_shapley(network, images(), TARGET, **options)
    assert distance(found.scores["input"].sum(1), changes(module)) < 1e-9


@pytest.mark.parametrize("name", ALL)
def test_relevance_without_biases_is_complete_or_refused_by_what_has_no_rule(name):
    module = built(ALL[name])
    for parameter_name, parameter in module.named_parameters():
        if parameter_name.endswith("bias"):
            nn.init.zeros_(parameter)
    network = attribution.Network(module, SHAPE)
    if name not in WITH_RULES:
        with pytest.raises(NetworkError, match=r"lrp_epsilon has no rule for layer '.+'.*; use input_x_gradient or"):
            attribution.multiclass_importance(network, images(), attribution="lrp_epsilon")
        return
    points = images().requires_grad_()
    chosen = relevance_pass(network, 1e-12)(points).gather(1, TARGET[:, None])
    (multipliers,) = torch.autograd.grad(chosen.sum(), points)
    logits = one_by_one(module, images()).gather(1, TARGET[:, None])[:, 0]
    assert distance((multipliers * points.detach()).flatten(1).sum(1), logits) < 1e-6


def pooled_largest(function):
    """Returns what makes a network that pools by a function which gives the largest values and where they were."""
    return lambda: Classifier(
        lambda self, x: self.head(pooled(function(self, self.features(x))[0])),
        pool=nn.MaxPool2d(2, return_indices=True),
        adaptive=nn.AdaptiveMaxPool2d(2, return_indices=True),
    )


def bounded(function):
    """Returns what makes a network whose features are bounded by others of them."""
    return lambda: Classifier(lambda self, x: self.head(pooled(function(self.features(x)))))


SEVERAL_SOURCES = {
    "MaxPool2d with indices": (pooled_largest(lambda self, x: self.pool(x)), r"pool' \(MaxPool2d\)"),
    "AdaptiveMaxPool2d with indices": (
        pooled_largest(lambda self, x: self.adaptive(x)),
        r"adaptive' \(AdaptiveMaxPool2d\)",
    ),
    "max_pool2d with indices": (
        pooled_largest(lambda self, x: functional.max_pool2d(x, 2, return_indices=True)),
        r"\w*max_pool2d\w*' \(\w*max_pool2d\w*\)",
    ),
    "max_pool2d_with_indices": (
        pooled_largest(lambda self, x: functional.max_pool2d_with_indices(x, 2)),
        r"\w*max_pool2d\w*' \(\w*max_pool2d\w*\)",
    ),
    "clamp(max=tensor)": (bounded(lambda x: torch.clamp(x, max=x.mean((2, 3), keepdim=True))), r"clamp' \(clamp\)"),
    "clamp(min=tensor)": (bounded(lambda x: x.clamp(min=0.5 * x.flip(1))), r"clamp' \(clamp\)"),
    "clip(tensor, tensor)": (bounded(lambda x: x.clip(x.flip(2) - 0.1, x.flip(3) + 0.1)), r"clip' \(clip\)"),
    "minimum()": (bounded(lambda x: torch.minimum(x, x.flip(1))), r"minimum' \(minimum\)"),
}


@pytest.mark.parametrize(("make", "place"), SEVERAL_SOURCES.values(), ids=SEVERAL_SOURCES)
def test_what_reads_or_gives_several_tensors_has_no_rule_and_is_explained_by_its_gradient(make, place):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    message = rf"has no rule for layer '{place}; use input_x_gradient or"
    with pytest.raises(NetworkError, match=f"deeplift {message}"):
        attribution.multiclass_importance(network, images(), attribution="deeplift", baseline=BASELINE)
    with pytest.raises(NetworkError, match=f"lrp_epsilon {message}"):
        attribution.multiclass_importance(network, images(), attribution="lrp_epsilon")
    with pytest.raises(NetworkError, match=f"deeplift {message}"):
        attribution.layer_shapley(network, images(), TARGET, background=BASELINE, estimator="deeplift")
    assert_explains(network, module)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.clamp(x, max=torch.tensor(0.1, dtype=x.dtype)),
        lambda x: x.clamp(-0.2, 0.3),
        lambda x: functional.max_pool2d(x, 2),
        lambda x: functional.max_pool2d(x, 2, return_indices=False),
    ],
    ids=["clamp(max=a constant)", "clamp(numbers)", "max_pool2d", "max_pool2d without indices"],
)
def test_their_plain_forms_have_rules(function):
    module = built(bounded(function))
    found = attribution.layer_shapley(
        attribution.Network(module, SHAPE), images(), TARGET, background=BASELINE, layers="input", estimator="deeplift"
    )
    assert distance(found.scores["input"].sum(1), changes(module)) < 1e-9


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("T", "H")])
def test_heads_are_found_behind_them(name):
    def make():
        module = ALL[name]()
        module.head = nn.Linear(4, 9)
        return module

    network = attribution.Network(built(make), SHAPE)
    assert network.report().linear_head == ("head", 4, 9)
    assert attribution.multiclass_importance(network, images()).n_rows.tolist() == [4, 4, 4]
    assert attribution.applicable_methods(network)["decomposition"] is None


def sized(x):
    return x.sum((2, 3)) / (x.shape[2] * x.size(3) * x.ndim * x.dim() / 16)


def shifted(x):
    return pooled(x) + torch.ones(x.shape[0], 4, dtype=x.dtype, device=x.device) * (x.itemsize / 8)


def counted(x):
    return x.sum((2, 3)) * x.shape[0] / (x.numel() / x.shape.numel() * x.size()[0]) / x.nbytes**0


METADATA = {"sizes": sized, "dtype, device and itemsize": shifted, "numbers of values": counted}


@pytest.mark.parametrize("question", METADATA.values(), ids=METADATA)
def test_questions_about_a_tensor_are_no_layers_and_on_no_path(question):
    module = built(lambda: Classifier(lambda self, x: self.head(question(self.features(x)))))
    network = attribution.Network(module, SHAPE)
    assert_explains(network, module)
    asked = {"shape", "size", "ndim", "dim", "dtype", "device", "itemsize", "numel", "nbytes"}
    assert asked.isdisjoint(layer.name for layer in network.layers)
    assert all(layer.cuts for layer in network.layers if layer.name in ("conv", "tanh", "sum", "mean", "head"))
