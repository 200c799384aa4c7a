"""Linear heads, however they are written, are explained and decomposed as the ``nn.Linear`` that they amount to."""

import pytest
import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import attribution
from attribution import TopK
from attribution.errors import InvalidOption, NetworkError
from attribution.multiclass.contrasts import head_weight, leading_directions
from tests.attribution.networks.references import (
    Classifier,
    Untraceable,
    assert_explains,
    built,
    class_effects,
    distance,
    jacobian,
    one_by_one,
    pooled,
    seeded,
)
from tests.attribution.tiny_models import SHAPE, images

D, K = 8, 20
TARGET = torch.tensor([0, 7, 11])


class Headed(Classifier):
    """Its function makes scores of pooled features."""

    def __init__(self, function, **parts):
        super().__init__(function, channels=D, classes=K, **parts)

    def forward(self, x):
        return self.function(self, pooled(self.features(x)))


class OwnLinear(nn.Linear):
    def forward(self, x):
        return functional.linear(x, self.weight, self.bias)


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(K, D)), nn.Parameter(torch.randn(K))

    def forward(self, x):
        return functional.linear(x, self.weight, self.bias)


class Stored(nn.Module):
    """Features times classes, as some libraries keep it."""

    def __init__(self):
        super().__init__()
        self.kernel, self.bias = nn.Parameter(torch.randn(D, K)), nn.Parameter(torch.randn(K))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.kernel)


def by(function):
    """Returns what makes a network whose scores are a function of weight, bias and features."""
    return lambda: Headed(lambda self, z: function(self.head.weight, self.head.bias, z))


def by_module(make):
    return lambda: Headed(lambda self, z: self.part(z), part=make())


WITH_PARTS = {
    "a subclass": by_module(lambda: OwnLinear(D, K)),
    "a subclass without bias": by_module(lambda: OwnLinear(D, K, bias=False)),
    "bare parameters": by_module(Bare),
    "a transposed kernel": by_module(Stored),
    "weight norm": by_module(lambda: parametrizations.weight_norm(nn.Linear(D, K))),
    "weight norm of a subclass": by_module(lambda: parametrizations.weight_norm(OwnLinear(D, K))),
    "orthogonal": by_module(lambda: parametrizations.orthogonal(nn.Linear(D, K))),
    "spectral norm": by_module(lambda: parametrizations.spectral_norm(nn.Linear(D, K))),
    "behind dropout and identity": by_module(lambda: nn.Sequential(nn.Dropout(), OwnLinear(D, K), nn.Identity())),
}
FUNCTIONS = {
    "functional.linear": by(lambda weight, bias, z: functional.linear(z, weight, bias)),
    "functional.linear by keywords": by(lambda weight, bias, z: functional.linear(input=z, weight=weight, bias=bias)),
    "functional.linear of what is computed": by(lambda weight, bias, z: functional.linear(z, weight.tanh(), 2 * bias)),
    "addmm": by(lambda weight, bias, z: torch.addmm(bias, z, weight.t())),
    "bias.addmm": by(lambda weight, bias, z: bias.addmm(z, weight.t())),
    "@ and +": by(lambda weight, bias, z: z @ weight.T + bias),
    "+ and matmul": by(lambda weight, bias, z: bias + torch.matmul(z, weight.mT)),
}
PRODUCTS = {
    "mm": by(lambda weight, bias, z: z.mm(weight.t()) + bias),
    "einsum": by(lambda weight, bias, z: torch.einsum("nd,cd->nc", z, weight) + bias),
    "einsum the other way round": by(lambda weight, bias, z: torch.einsum("cd,nd->nc", weight, z) + bias),
}
HEADS = WITH_PARTS | FUNCTIONS | PRODUCTS


def twin_of(module):
    """Returns the same network with an ``nn.Linear``, whose weights are what the head makes of each feature."""
    twin = built(lambda: Headed(lambda self, z: self.head(z)))
    with torch.no_grad():
        bias = module.function(module, torch.zeros(1, D, dtype=torch.float64))
        twin.head.weight.copy_((module.function(module, torch.eye(D, dtype=torch.float64)) - bias).T)
        twin.head.bias.copy_(bias[0])
    twin.conv.load_state_dict(module.conv.state_dict())
    return twin


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_importance_takes_a_pass_a_feature_and_a_sketch_the_directions_of_the_weight(make):
    module = built(make)
    network, twin = attribution.Network(module, SHAPE), attribution.Network(twin_of(module), SHAPE)
    assert network.report().linear_head[1:] == (D, K)
    assert_explains(network, module)
    assert attribution.multiclass_importance(network, images(1)).n_rows.tolist() == [D]
    for options in ({"n_directions": 5, "n_signs": 0}, {"n_directions": 3, "n_signs": 4}):
        found, expected = (
            attribution.multiclass_importance(of, images(1), mode="sketch", generator=seeded(), **options)
            for of in (network, twin)
        )
        assert found.n_rows.tolist() == [sum(options.values())]
        assert distance(found.individual, expected.individual) < 1e-9
        assert distance(found.std, expected.std) < 1e-9


def influential(network, n_initial=5):
    batches = list(zip(images(12, seed=7).split(6), (torch.arange(12) % network.n_classes).split(6), strict=True))
    return attribution.influential_features(network, batches, n_initial=n_initial, n_features=3)


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_decompositions_are_those_of_nn_linear(make):
    module = built(make)
    network, twin = attribution.Network(module, SHAPE), attribution.Network(twin_of(module), SHAPE)
    found, expected = (attribution.decomposition(of, images(), TARGET, influential(of)) for of in (network, twin))
    assert distance(found.logits, one_by_one(module, images()).gather(1, TARGET[:, None])[:, 0]) < 1e-12
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.places, expected.places)
    for name in ("influential", "others", "everything", "contributions", "values", "decomposed_logits", "logits"):
        assert distance(getattr(found, name), getattr(expected, name)) < 1e-9, name


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_contributions_and_bias_are_the_decomposed_logit(make):
    network = attribution.Network(built(make), SHAPE)
    found = attribution.decomposition(network, images(), TARGET, influential(network))
    assert float(found.convergence_delta.abs().max()) < 1e-12


def exported(module):
    batch = torch.export.Dim("batch", min=1, max=1024)
    return torch.export.export(module, (images(),), dynamic_shapes=({0: batch},)).module()


@pytest.mark.parametrize("change", [exported, fx.symbolic_trace], ids=["exported", "traced by torch.fx"])
@pytest.mark.parametrize("name", ["a subclass", "bare parameters", "functional.linear", "addmm", "@ and +"])
def test_programs_have_the_heads_of_their_modules(name, change):
    module = built(HEADS[name])
    network, twin = attribution.Network(change(module), SHAPE), attribution.Network(twin_of(module), SHAPE)
    assert network.report().linear_head[1:] == (D, K)
    assert_explains(network, module)
    assert attribution.multiclass_importance(network, images(1)).n_rows.tolist() == [D]
    found, expected = (attribution.decomposition(of, images(), TARGET, influential(of)) for of in (network, twin))
    assert distance(found.contributions, expected.contributions) < 1e-9
    assert distance(found.logits, expected.logits) < 1e-9


CONVOLUTIONS = {
    "then pooled": lambda: Classifier(
        lambda self, x: pooled(self.scores(self.features(x))), channels=D, scores=nn.Conv2d(D, K, 1)
    ),
    "then pooled and flattened": lambda: Classifier(
        lambda self, x: self.pool(self.scores(self.features(x))).flatten(1),
        channels=D,
        scores=nn.Conv2d(D, K, 1),
        pool=nn.AdaptiveAvgPool2d(1),
    ),
    "of pooled features": lambda: Classifier(
        lambda self, x: self.scores(self.features(x).mean((2, 3), keepdim=True)).flatten(1),
        channels=D,
        scores=nn.Conv2d(D, K, 1),
    ),
}


@pytest.mark.parametrize("make", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_pointwise_convolutions_are_heads(make):
    module = built(make)
    network, twin = attribution.Network(module, SHAPE), built(lambda: Headed(lambda self, z: self.head(z)))
    twin.conv.load_state_dict(module.conv.state_dict())
    with torch.no_grad():
        twin.head.weight.copy_(module.scores.weight.flatten(1))
        twin.head.bias.copy_(module.scores.bias)
    assert distance(one_by_one(twin, images()), one_by_one(module, images())) < 1e-12
    assert_explains(network, module)
    plain = attribution.Network(twin, SHAPE)
    sketches = [
        attribution.multiclass_importance(of, images(), mode="sketch", n_directions=5) for of in (network, plain)
    ]
    assert distance(*(sketch.importance for sketch in sketches)) < 1e-9
    found, expected = (attribution.decomposition(of, images(), TARGET, influential(of)) for of in (network, plain))
    assert torch.equal(found.features, expected.features)
    assert distance(found.contributions, expected.contributions) < 1e-9
    assert distance(found.logits, expected.logits) < 1e-9


def tokens(self, x):
    return self.features(x).flatten(2).transpose(1, 2)


NO_HEADS = {
    "scores of every token": (lambda: Classifier(lambda self, x: self.head(tokens(self, x)).mean(1)), "head"),
    "a convolution of the whole map": (
        lambda: Classifier(lambda self, x: self.scores(self.features(x)).flatten(1), scores=nn.Conv2d(4, 3, 4)),
        "scores, is a 4 x 4 convolution",
    ),
    "called twice": (
        lambda: Classifier(lambda self, x: self.head(pooled(self.features(x))) - self.head(pooled(self.conv(x))) / 2),
        "head is called more than once",
    ),
    "beside a shortcut": (
        lambda: Classifier(lambda self, x: (z := pooled(self.features(x)), self.head(z) + z[:, :3])[1]),
        "paths to the output beside the last layer head",
    ),
    "without a graph": (
        lambda: Untraceable(Classifier(lambda self, x: self.head(pooled(self.features(x))))),
        "unknown without a graph",
    ),
}


@pytest.mark.parametrize(("make", "reason"), NO_HEADS.values(), ids=NO_HEADS)
def test_what_is_no_linear_head_is_explained_and_not_decomposed(make, reason):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    assert network.report().linear_head is None
    assert_explains(network, module)
    with pytest.raises(NetworkError, match=f"no decomposition: .*{reason}"):
        influential(network, n_initial=4)


BEHIND = {
    "a temperature": lambda logits: logits / 0.07,
    "a negative scale": lambda logits: -3.0 * logits,
    "a shift": lambda logits: 2 * logits - 1,
    "log_softmax": lambda logits: logits.log_softmax(1),
    "log_softmax at a temperature": lambda logits: functional.log_softmax(logits / 2, dim=-1),
    "softmax": lambda logits: logits.softmax(1),
    "sigmoid": torch.sigmoid,
}


def many(change, classes):
    return built(lambda: Classifier(lambda self, x: change(self.head(pooled(self.features(x)))), classes=classes))


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("change", BEHIND.values(), ids=BEHIND)
def test_what_lies_behind_the_head_costs_no_more_than_its_features(change, output):
    network = attribution.Network(many(change, 3000), SHAPE, output=output)
    assert network.report().linear_head == ("head", 4, 3000)
    assert attribution.multiclass_importance(network, images(1)).n_rows.tolist() == [4]
    assert attribution.multiclass_importance(network, images(1), mode="sketch").n_rows.tolist() == [4]


@pytest.mark.parametrize("change", BEHIND.values(), ids=BEHIND)
def test_effects_of_many_classes_are_right(change):
    module = many(change, 300)
    found = attribution.multiclass_importance(attribution.Network(module, SHAPE), images(1))
    importance, individual = class_effects(jacobian(module, images(1)), images(1))
    assert distance(found.importance, importance) < 1e-9
    assert distance(found.individual, individual) < 1e-9


def test_a_scale_of_each_class_is_part_of_the_weight():
    def make():
        scale = nn.Parameter(torch.linspace(-2, 3, 3000))
        return Classifier(lambda self, x: self.head(pooled(self.features(x))) * self.scale, classes=3000, scale=scale)

    module = built(make)
    weight, spans = head_weight(attribution.Network(module, SHAPE))
    assert spans
    assert distance(weight, (module.scale[:, None] * module.head.weight).detach()) < 1e-12
    assert leading_directions(weight, 3000, spans=True).shape == (4, 3000)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Untraceable(Classifier(lambda self, x: self.head(pooled(self.features(x))), classes=4097)),
        lambda: Classifier(lambda self, x: torch.tanh(self.head(pooled(self.features(x)))), classes=4097),
    ],
    ids=["without a graph", "a tanh behind the head"],
)
def test_more_classes_than_directions_can_be_found_for_are_refused_with_what_to_do(make):
    module = built(make)
    network = attribution.Network(module, SHAPE)
    with pytest.raises(InvalidOption, match=r"4,097 classes are compared without .*, at most 4,096 can be: choose"):
        attribution.multiclass_importance(network, images(1))
    chosen = attribution.multiclass_importance(network, images(1), classes=TopK(5))
    rows = jacobian(lambda x: module(x)[:, chosen.classes[0]], images(1))
    assert distance(chosen.individual, class_effects(rows, images(1))[1]) < 1e-9
    assert attribution.multiclass_importance(network, images(1), mode="importance").individual is None
