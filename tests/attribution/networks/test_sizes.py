"""A network asked with images of another size has its own shapes, layers and chunk for them, or is refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution.errors import NetworkError
from attribution.networks.estimates import activation_bytes
from tests.attribution.networks.references import Classifier, Counting, assert_explains, built, distance, pooled, seeded
from tests.attribution.tiny_models import SHAPE

SIZES = [SHAPE, (2, 9, 12), (2, 4, 4), SHAPE]
TARGET = torch.tensor([0, 2])


def pictures(shape):
    return torch.randn(2, *shape, dtype=torch.float64, generator=seeded())


def with_interpolated_positions(self, x):
    features = self.conv(x)
    positions = functional.interpolate(self.positions, size=features.shape[2:], mode="bilinear")
    return self.head(pooled(torch.tanh(features + positions)))


def rows_read_in_turn(self, x):
    rows = self.act(self.conv(x).mean(3).permute(2, 0, 1))
    return self.head(self.gru(self.act(self.inner(rows)))[0].mean(0))


def attended_sequence_first(self, x):
    tokens = self.act(self.conv(x).flatten(2).permute(2, 0, 1))
    return self.head(self.act(self.attention(tokens, tokens, tokens)[0]).mean(0))


ANY_SIZE = {
    "convolutional": lambda: Classifier(lambda self, x: self.head(pooled(self.features(x)))),
    "pooled to a fixed size": lambda: Classifier(
        lambda self, x: self.last(functional.adaptive_avg_pool2d(self.features(x), 2).flatten(1)), last=nn.Linear(16, 3)
    ),
    "by its own count": lambda: Classifier(
        lambda self, x: self.head(self.features(x).sum((2, 3)) / (x.shape[2] * x.size(3)))
    ),
    "interpolated positions": lambda: Classifier(
        with_interpolated_positions, positions=nn.Parameter(torch.randn(1, 4, 3, 3))
    ),
    "tokens that are read one by one": lambda: Classifier(
        lambda self, x: self.head(self.lstm(self.features(x).flatten(2).transpose(1, 2))[0][:, -1]),
        lstm=nn.LSTM(4, 4, batch_first=True),
    ),
    "tokens that come before the images": lambda: Classifier(
        lambda self, x: self.head(self.lstm(self.features(x).flatten(2).permute(2, 0, 1))[0][-1]), lstm=nn.LSTM(4, 4)
    ),
    "one activation before and behind a layer of tokens": lambda: Classifier(
        rows_read_in_turn, act=nn.GELU(), inner=nn.Linear(4, 4), gru=nn.GRU(4, 4)
    ),
    "attention to tokens that come before the images": lambda: Classifier(
        attended_sequence_first, attention=nn.MultiheadAttention(4, 2), act=nn.Tanh()
    ),
    "channels before the images": lambda: Classifier(
        lambda self, x: self.head(torch.tanh(self.conv(x).mean((2, 3)).T + self.shift).T),
        shift=nn.Parameter(torch.randn(4, 1)),
    ),
}


@pytest.mark.parametrize("make", ANY_SIZE.values(), ids=ANY_SIZE)
def test_every_size_has_its_own_layers_and_shapes(make):
    module = built(make)
    used = attribution.Network(module, SIZES[0])
    for shape in SIZES:
        fresh = attribution.Network(module, shape)
        assert_explains(used, module, shape)
        assert used.input_shape == shape
        assert used.layers == fresh.layers
        assert used.report().traced
        options = {"background": torch.zeros(1, *shape, dtype=torch.float64), "n_steps": 3}
        found, expected = (
            attribution.layer_shapley(of, pictures(shape), TARGET, **options).scores for of in (used, fresh)
        )
        assert found.keys() == expected.keys() == {"input", *(layer.name for layer in fresh.layers)}
        assert all(torch.equal(found[name], expected[name]) for name in found)


def test_chunks_are_fitted_to_the_size_that_is_asked_for():
    module = built(lambda: Classifier(lambda self, x: self.head(pooled(self.features(x))), channels=64))
    shape = (2, 66, 66)
    known, used = attribution.Network(module, shape), attribution.Network(module, SHAPE)

    def chunk(network, shape):
        inputs = pictures(shape)[:1]
        return attribution.integrated_gradients(
            network, inputs, TARGET[:1], baseline=torch.zeros_like(inputs), n_steps=2
        ).chunk_size

    small = chunk(used, SHAPE)
    assert chunk(used, shape) == chunk(known, shape) < small
    assert chunk(used, SHAPE) == small


REFUSING = {
    "a head of one size": (
        lambda: Classifier(lambda self, x: self.last(self.features(x).flatten(1)), last=nn.Linear(64, 3)),
        SHAPE,
        r"the network fails on inputs of shape \(1, 2, 9, 12\): mat1 and mat2 shapes cannot be multiplied",
    ),
    "positions of one size": (
        lambda: Classifier(
            lambda self, x: self.head(pooled(torch.tanh(self.conv(x) + self.positions))),
            positions=nn.Parameter(torch.randn(1, 4, 4, 4)),
        ),
        SHAPE,
        r"the network fails on inputs of shape \(1, 2, 9, 12\): The size of tensor",
    ),
    "what of another size would become rows": (
        lambda: Classifier(lambda self, x: self.head(self.features(x).reshape(-1, 4, 14).mean(2))),
        (2, 4, 9),
        r"the network returns shape \(5, 3\) for a batch of 1, expected \(1, classes\)",
    ),
}


@pytest.mark.parametrize(("make", "known", "message"), REFUSING.values(), ids=REFUSING)
def test_sizes_that_do_not_fit_are_refused_and_the_known_one_stays(make, known, message):
    module = built(make)
    network = attribution.Network(module, known)
    layers, baseline = network.layers, torch.zeros(1, 2, 9, 12, dtype=torch.float64)
    for explain in (
        lambda: network(pictures((2, 9, 12))),
        lambda: attribution.integrated_gradients(network, pictures((2, 9, 12)), TARGET, baseline=baseline),
        lambda: attribution.layer_shapley(network, pictures((2, 9, 12)), TARGET, background=baseline),
        lambda: attribution.multiclass_importance(network, pictures((2, 9, 12))),
    ):
        with pytest.raises(NetworkError, match=message):
            explain()
    assert_explains(network, module, known)
    assert network.layers == layers


class OtherwiseForLargeOnes(Classifier):
    """Traced as for small images, for a size that is traced is no number."""

    def forward(self, x):
        scale = 2 if isinstance(x.shape[3], int) and x.shape[3] > 8 else 1
        return self.head(pooled(torch.tanh(scale * self.conv(x))))


def test_a_graph_that_is_wrong_for_a_size_is_given_up_for_that_size_alone():
    module = built(lambda: OtherwiseForLargeOnes(None))
    network = attribution.Network(module, SHAPE)
    assert network.report().traced
    assert_explains(network, module, (2, 9, 12))
    report = network.report()
    assert not report.traced
    assert r"for inputs of (2, 9, 12) the traced graph gives other outputs than the module" in report.reason
    baseline = torch.zeros(1, 2, 9, 12, dtype=torch.float64)
    with pytest.raises(NetworkError, match=r"layers need the network's graph, and it has none: for inputs of \(2, 9"):
        attribution.layer_shapley(network, pictures((2, 9, 12)), TARGET, background=baseline)
    assert_explains(network, module, SHAPE)
    assert network.report().traced


def test_classes_may_depend_on_the_size():
    module = built(lambda: Classifier(lambda self, x: self.features(x).mean((1, 2))))
    network = attribution.Network(module, SHAPE)
    for width in (6, 9, 5, 6):
        assert_explains(network, module, (2, 6, width))
        assert network.n_classes == network.report().n_classes == width - 2
    assert distance(network(pictures(SHAPE)), module(pictures(SHAPE)).detach()) < 1e-12


NO_GRADIENT = "no gradients to explain with: no gradient of the outputs reaches the image"
AT_ONE_SIZE = {
    "noise": (lambda x: x + torch.randn_like(x), "random in evaluation mode.*randn_like"),
    "dropout": (lambda x: functional.dropout(x, 0.5), "random in evaluation mode.*bernoulli_"),
    "a count": (Counting(), "random in evaluation mode.*keeps count"),
    "the mean of the batch": (lambda x: x - x.mean(0, keepdim=True), "depend on the other images of its batch"),
    "numbers by numpy": (lambda x: torch.from_numpy(x.detach().numpy() + 1), NO_GRADIENT),
    "half of the gradient": (lambda x: x * x.detach(), "no gradients to explain with: .* is not the derivative"),
    "rounding": (lambda x: (8 * x).round() / 8, NO_GRADIENT),
}


class AtOneSize(nn.Module):
    """Does something else to large images alone; tracing sees the branch, or takes the size for no number."""

    def __init__(self, change, *, is_seen):
        super().__init__()
        self.network = Classifier(lambda self, x: self.head(pooled(self.features(x))))
        self.change, self.is_seen = change, is_seen

    def forward(self, x):
        if (self.is_seen or isinstance(x.shape[3], int)) and x.shape[3] > 8:
            x = self.change(x)
        return self.network(x)


@pytest.mark.parametrize("is_seen", [False, True], ids=["graph", "no graph"])
@pytest.mark.parametrize(("change", "message"), AT_ONE_SIZE.values(), ids=AT_ONE_SIZE)
def test_what_is_wrong_at_a_second_size_is_refused_there_alone(change, message, is_seen):
    module = built(lambda: AtOneSize(change, is_seen=is_seen))
    large, baseline = pictures((2, 9, 12)), torch.zeros(1, 2, 9, 12, dtype=torch.float64)
    for explain in (
        lambda network: attribution.integrated_gradients(network, large, TARGET, baseline=baseline),
        lambda network: attribution.multiclass_importance(network, large),
    ):
        network = attribution.Network(module, SHAPE)
        assert network.report().traced is not is_seen
        with pytest.raises(NetworkError, match=message):
            explain(network)
        for shape in ((2, 5, 7), SHAPE):
            assert_explains(network, module, shape)


def test_a_gradient_that_the_module_loses_at_a_second_size_is_that_of_the_graph():
    module = built(lambda: AtOneSize(lambda x: x.detach() + 0, is_seen=False))
    network = attribution.Network(module, SHAPE)
    assert_explains(network, module.network, (2, 9, 12))
    network = attribution.Network(built(lambda: AtOneSize(lambda x: x.detach() + 0, is_seen=True)), SHAPE)
    with pytest.raises(NetworkError, match=NO_GRADIENT):
        attribution.multiclass_importance(network, pictures((2, 9, 12)))


class HalfDetached(nn.Module):
    """Notes how many images of which size it is given at once."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(SHAPE[0], 4, 3, padding=1), nn.Linear(4, 3)
        self.gate = nn.Identity()

    def forward(self, x):
        features = torch.tanh(self.conv(self.gate(x)))
        return self.head(pooled(features * features.detach()))


def test_what_smaller_images_show_holds_where_a_single_one_fits():
    module, shape, given = built(HalfDetached), (SHAPE[0], 256, 256), set()
    module.gate.forward = lambda x: (given.add((len(x), x.shape[-1])), x)[1]
    network = attribution.Network(module, shape, budget=4 * activation_bytes(module, shape))
    assert (2, 256) not in given
    assert {(1, 256), (2, 192)} <= given
    inputs = torch.randn(1, *shape, dtype=torch.float64, generator=seeded())
    with pytest.raises(NetworkError, match="is not the derivative of the outputs"):
        attribution.integrated_gradients(network, inputs, torch.tensor([0]), baseline=0 * inputs)
