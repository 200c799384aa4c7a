"""What does not trace is named by module and line, and traces once it is written as the guide says."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution.errors import NetworkError
from tests.attribution.networks.references import Classifier, assert_explains, built, distance, one_by_one, pooled
from tests.attribution.tiny_models import SHAPE, images


class Part(nn.Module):
    """Its forward pass is a function, the first line of which says all."""

    def __init__(self, function):
        super().__init__()
        self.function, self.scale = function, nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.function(self, x)


def decides_by_values(self, x):
    if x.max() > 0.5:
        x = 2 * x
    return x


def decides_by_an_item(self, x):
    if x.abs().max().item() > 1e9:
        x = x / 2
    return x


def decides_by_size(self, x):
    if x.shape[2] > 3:
        x = functional.avg_pool2d(x, 2)
    return x


def asserts(self, x):
    assert x.shape[1] == 4
    return torch.tanh(x)


def counts(self, x):
    return x * len(x) / x.shape[0]


def loops_over_rows(self, x):
    return torch.stack([torch.tanh(row) for row in x])


def loops_over_a_range(self, x):
    for row in range(x.shape[2]):
        x = x + x[:, :, row : row + 1] / 4
    return x


def makes_an_integer(self, x):
    kept = int(x.shape[3] / 2)
    return x[..., :kept]


def makes_a_float(self, x):
    small = float(x.detach().sum()) < 1e9
    return x * small


def makes_a_list(self, x):
    sides = torch.Size(x.shape[2:])
    return x / sides.numel()


def goes_through_numpy(self, x):
    zero = torch.as_tensor(x.detach().numpy() * 0)
    return x + zero


FAILING = [
    decides_by_values,
    decides_by_an_item,
    decides_by_size,
    asserts,
    counts,
    loops_over_rows,
    loops_over_a_range,
    makes_an_integer,
    makes_a_float,
    makes_a_list,
    goes_through_numpy,
]
#: The same, by what the guide says.
REWRITTEN = {
    decides_by_an_item: lambda self, x: torch.where(x.abs().amax((1, 2, 3), keepdim=True) > 1e9, x / 2, x),
    decides_by_size: lambda self, x: functional.avg_pool2d(x, 2) if self.training is False else x,
    asserts: lambda self, x: torch.tanh(x),
    counts: lambda self, x: x * x.size(0) / x.shape[0],
    loops_over_rows: lambda self, x: torch.tanh(x),
    makes_an_integer: lambda self, x: x[..., : x.shape[3] // 2],
    makes_a_float: lambda self, x: torch.where(x.detach().sum((1, 2, 3), keepdim=True) < 1e9, x, 0 * x),
    makes_a_list: lambda self, x: x / (x.shape[2] * x.shape[3]),
}


def within(function, wrap=lambda part: part):
    return built(
        lambda: Classifier(lambda self, x: self.head(pooled(self.part(self.features(x)))), part=wrap(Part(function)))
    )


PLACES = {
    "part": lambda part: part,
    "part.1": lambda part: nn.Sequential(nn.Identity(), part),
}


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize("function", FAILING, ids=lambda function: function.__name__)
def test_what_does_not_trace_is_named_by_module_and_line(function, path):
    network = attribution.Network(within(function, PLACES[path]), SHAPE)
    report = network.report()
    line = function.__code__.co_firstlineno + 1
    assert not report.traced
    assert f"in module {path!r} (test_tracing.py, line {line})" in report.reason
    assert report.layers == ()
    assert report.reason in report.warnings[0]


@pytest.mark.parametrize(
    "function", [one for one in FAILING if one is not decides_by_values], ids=lambda one: one.__name__
)
def test_it_is_explained_where_no_layers_are_needed_and_refused_where_they_are(function):
    module = within(function)
    network = attribution.Network(module, SHAPE)
    assert_explains(network, module)
    target, line = torch.tensor([0, 1, 2]), function.__code__.co_firstlineno + 1
    for explain in (
        lambda: attribution.layer_shapley(network, images(), target, background=0 * images(1)),
        lambda: attribution.multiclass_importance(network, images(), attribution="lrp_epsilon"),
    ):
        with pytest.raises(NetworkError, match=rf"it has none: .* in module 'part' \(test_tracing\.py, line {line}\)"):
            explain()


@pytest.mark.parametrize("function", REWRITTEN, ids=lambda function: function.__name__)
def test_what_is_rewritten_by_the_guide_traces_and_computes_the_same(function):
    module = within(function)
    network = attribution.Network(within(REWRITTEN[function]), SHAPE)
    assert network.report().traced
    assert distance(network(images()), one_by_one(module, images())) < 1e-12
    assert_explains(network, module)
    assert {"conv", "tanh", "mean", "head"} <= {layer.name for layer in network.layers}


def test_a_choice_by_configuration_traces():
    def forward(self, x):
        return self.head(pooled(self.features(x) if self.use_tanh else self.conv(x)))

    for chosen in (True, False):
        module = built(lambda: Classifier(forward))
        module.use_tanh = chosen
        network = attribution.Network(module, SHAPE)
        assert ("tanh" in {layer.name for layer in network.layers}) is chosen
        assert_explains(network, module)


def test_auxiliary_outputs_kept_for_training_trace():
    def forward(self, x):
        z = pooled(self.features(x))
        return (self.head(z), self.other(z)) if self.training else self.head(z)

    module = built(lambda: Classifier(forward, other=nn.Linear(4, 3)))
    network = attribution.Network(module.train(), SHAPE)
    assert network.report().traced
    assert_explains(network, module.eval())


def depends_on_the_kind(self, x):
    return 3 * x if isinstance(x, torch.Tensor) else x


def test_a_graph_that_went_another_way_is_given_up_and_says_from_where():
    module = within(depends_on_the_kind)
    network = attribution.Network(module, SHAPE)
    report = network.report()
    assert not report.traced
    assert (
        "for inputs of (2, 6, 6) the traced graph gives other outputs than the module, from layer 'head'"
        in report.reason
    )
    assert_explains(network, module)
