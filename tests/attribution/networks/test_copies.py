"""A module that is explained stays what it was: bits of weights, attributes, flags. What is no copy is refused."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution.errors import NetworkError
from tests.attribution.networks.references import Classifier, Untraceable, assert_explains, built, distance, pooled
from tests.attribution.tiny_models import SHAPE, images


def described(value):
    """Returns what can be compared of an attribute, down to its bits."""
    if isinstance(value, torch.Tensor):
        return id(value), value.requires_grad, value.dtype, value.detach().reshape(-1).view(torch.uint8).tolist()
    if isinstance(value, dict):
        return {key: described(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [described(inner) for inner in value]
    return set(value) if isinstance(value, set) else value


def state(module):
    return {
        path: {name: described(value) for name, value in vars(part).items()} for path, part in module.named_modules()
    }


def logits(self, x):
    return self.head(pooled(self.features(x)))


class Adapted(nn.Linear):
    """Merges a low rank into its weight for evaluation, and takes it out for training."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.down, self.up = nn.Parameter(torch.randn(2, inputs)), nn.Parameter(torch.randn(outputs, 2))
        self.is_merged = False

    def train(self, mode=True):
        super().train(mode)
        if mode == self.is_merged:
            with torch.no_grad():
                self.weight += (-1 if mode else 1) * self.up @ self.down
            self.is_merged = not mode
        return self

    def forward(self, x):
        plain = functional.linear(x, self.weight, self.bias)
        return plain if self.is_merged else plain + x @ self.down.T @ self.up.T


class Folded(nn.Conv2d):
    """Takes a scale into its weight once and for all when it is evaluated."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.scale = nn.Parameter(torch.rand(sizes[1], 1, 1, 1) + 0.5)

    def eval(self):
        if self.scale is not None:
            self.weight, self.scale = nn.Parameter((self.scale * self.weight).detach()), None
        return super().eval()

    def forward(self, x):
        weight = self.weight if self.scale is None else self.scale * self.weight
        return functional.conv2d(x, weight, self.bias)


class Switched(nn.Module):
    """Has a kernel of its own for evaluation, in a buffer that it fills then."""

    def __init__(self):
        super().__init__()
        self.raw = nn.Parameter(torch.randn(4, 4))
        self.register_buffer("ready", torch.zeros(4, 4))

    def train(self, mode=True):
        if not mode:
            self.ready.copy_(self.raw.detach().tanh())
        return super().train(mode)

    def forward(self, x):
        return x @ (self.raw.tanh() if self.training else self.ready)


def headed(part):
    """Returns what makes a network whose head follows a part."""
    return lambda: Classifier(lambda self, x: self.head(self.part(pooled(self.features(x)))), part=part())


MODES = {
    "adapters that are merged": headed(lambda: Adapted(4, 4)),
    "an adapter for a head": lambda: Classifier(
        lambda self, x: self.last(pooled(self.features(x))), last=Adapted(4, 3)
    ),
    "adapters deep inside": headed(lambda: nn.Sequential(nn.Tanh(), nn.Sequential(Adapted(4, 4), Adapted(4, 4)))),
    "a scale that is folded": lambda: Classifier(
        lambda self, x: self.head(pooled(torch.tanh(self.part(x)))), part=Folded(2, 4, 3)
    ),
    "a buffer that is filled": headed(Switched),
}


@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
@pytest.mark.parametrize("is_training", [True, False], ids=["training", "evaluated"])
@pytest.mark.parametrize("make", MODES.values(), ids=MODES)
def test_modes_that_change_weights_change_those_of_a_copy(make, is_training, wrapped):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = wrapped(make()).double().train(is_training)
        if not is_training:
            module.eval()
    before, own = state(module), module(images()).detach()
    network = attribution.Network(module, SHAPE)
    assert_explains(network, copy.deepcopy(module).eval())
    assert state(module) == before
    assert torch.equal(module(images()), own)


class Notes(nn.Module):
    """Does something to itself beside what it computes."""

    def __init__(self, note, **attributes):
        super().__init__()
        self.inner, self.note = nn.Linear(4, 4), note
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        found = torch.tanh(self.inner(x))
        self.note(self, found)
        return found


def counted(self, _):
    self.calls += 1


def listed(self, found):
    self.seen.append(found.shape)


def kept_in_a_dictionary(self, found):
    self.seen["found"] = [found, {"again": found}]


def kept(self, found):
    self.seen = found


def collected(self, found):
    self.seen.add(found.dim())


def counted_in_a_buffer(self, _):
    self.calls.add_(1)


NOTES = {
    "a count": lambda: Notes(counted, calls=3),
    "a list": lambda: Notes(listed, seen=[1]),
    "a dictionary": lambda: Notes(kept_in_a_dictionary, seen={}),
    "an activation": lambda: Notes(kept),
    "a set": lambda: Notes(collected, seen={7}),
    "a buffer": lambda: Notes(counted_in_a_buffer, calls=nn.Buffer(torch.zeros(()))),
}


@pytest.mark.parametrize("has_run", [False, True], ids=["new", "has run"])
@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
@pytest.mark.parametrize("make", NOTES.values(), ids=NOTES)
def test_what_a_module_notes_of_its_passes_is_what_it_was(make, wrapped, has_run):
    module, reference = (built(lambda: wrapped(headed(make)())) for _ in range(2))
    if has_run:
        module(images(1))
    before = state(module)
    network = attribution.Network(module, SHAPE)
    assert state(module) == before
    assert_explains(network, reference)
    assert state(module) == before


class Reads(nn.Module):
    """Goes through a dictionary to its own features."""

    def __init__(self):
        super().__init__()
        self.inner, self.kept = nn.Linear(4, 4), {}

    def forward(self, x):
        self.kept["features"] = torch.tanh(self.inner(x))
        return 2 * self.kept["features"]


def swished(x):
    return x * torch.sigmoid(x)


def scripted():
    return torch.jit.script(swished)


OWN = {
    "activations read from a dictionary": headed(Reads),
    "a scripted function": lambda: Classifier(
        lambda self, x: self.head(pooled(self.act(self.conv(x)))), act=scripted()
    ),
    "a list of scripted functions": lambda: Classifier(
        lambda self, x: self.head(pooled(self.acts[1](self.conv(x)))), acts=[torch.tanh, scripted()]
    ),
    "scripted functions by name": lambda: Classifier(
        lambda self, x: self.head(pooled(self.acts["swish"][0](self.conv(x)))), acts={"swish": (scripted(),)}
    ),
    "a tensor that is no parameter": lambda: Classifier(
        lambda self, x: self.head(self.scale * pooled(self.features(x))),
        scale=torch.arange(1.0, 5.0, dtype=torch.float64).requires_grad_(),
    ),
    "a tensor computed of a parameter": lambda: with_computed(Classifier(lambda self, x: logits(self, x) * self.scale)),
    "a part that stays in evaluation mode": lambda: Classifier(
        lambda self, x: self.head(pooled(self.norm(self.conv(x)))), norm=StaysEvaluated(4)
    ),
}


class StaysEvaluated(nn.BatchNorm2d):
    def train(self, mode=True):
        return super().train(False)


def with_computed(module):
    module.raw = nn.Parameter(torch.ones(3, dtype=torch.float64))
    module.scale = 2 * module.raw
    return module


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("make", OWN.values(), ids=OWN)
def test_what_a_module_keeps_beside_parameters_and_buffers(make):
    module = built(make)
    module(images(1))
    module.train()
    before = state(module)
    network = attribution.Network(module, SHAPE)
    assert state(module) == before
    assert_explains(network, module.eval())


class Same(nn.Sequential):
    def __deepcopy__(self, memo):
        return self


class Renewed(nn.Linear):
    def __deepcopy__(self, memo):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return Renewed(self.in_features, self.out_features).double()


class Unwilling(nn.Linear):
    def __deepcopy__(self, memo):
        raise TypeError("not this one")


UNCOPIED = {
    "a part": (headed(lambda: Same(nn.Linear(4, 4), nn.Dropout())), r"^part \(Same\) is no copy but the module itself"),
    "a part without weights": (headed(lambda: Same(nn.Tanh())), r"^part \(Same\) is no copy but the module itself"),
    "all of it": (
        lambda: Same(nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
        r"^the network \(Same\) is no copy but the module itself",
    ),
    "deep inside": (headed(lambda: nn.Sequential(nn.Tanh(), Same(nn.Linear(4, 4)))), r"^part\.1 \(Same\) is no copy"),
    "other weights": (headed(lambda: Renewed(4, 4)), "a frozen copy of Classifier computes something else than the"),
    "none": (headed(lambda: Unwilling(4, 4)), r"Classifier cannot be copied \(not this one\); remove what"),
}


@pytest.mark.parametrize(("make", "message"), UNCOPIED.values(), ids=UNCOPIED)
def test_copies_that_are_none_are_refused_and_the_module_is_what_it_was(make, message):
    module = built(make).train()
    before = state(module)
    with pytest.raises(NetworkError, match=message):
        attribution.Network(module, SHAPE)
    assert state(module) == before


class Tempered(Classifier):
    """Its first parameter has fewer digits than the others."""

    def __init__(self, first):
        super().__init__(None)
        self.first = first

    def forward(self, x):
        return logits(self, x) * self.first.double()


@pytest.mark.parametrize(
    "first",
    [torch.tensor(0.7), torch.tensor([0.5, 1.5, 2.0]), torch.tensor(2.0, dtype=torch.bfloat16)],
    ids=["a number", "a number a class", "in half of the digits"],
)
def test_most_of_the_weights_decide_on_the_dtype(first):
    module = built(lambda: Tempered(None))
    module.first = nn.Parameter(first)
    assert next(module.parameters()).dtype == first.dtype
    network = attribution.Network(module, SHAPE)
    assert network.dtype == torch.float64
    assert_explains(network, module)
    narrow = module.float()
    narrow.first = nn.Parameter(first.double())
    network = attribution.Network(narrow, SHAPE)
    assert network.dtype == torch.float32
    inputs = images(dtype=torch.float32)
    with torch.no_grad():
        assert distance(network(inputs), narrow(inputs)) < 1e-6


def all_of(module):
    return module.to("meta")


def the_head_of(module):
    module.head.to("meta")
    return module


def a_scale_of(module):
    module.scale = nn.Parameter(torch.ones(3, device="meta"))
    return module


@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
@pytest.mark.parametrize("moved", [all_of, the_head_of, a_scale_of], ids=["all", "the head", "a scale"])
def test_weights_without_values_are_refused(moved, wrapped):
    module = wrapped(moved(built(lambda: Classifier(logits))))
    for run in (lambda: attribution.Network(module, SHAPE), lambda: attribution.Network(module)(images())):
        with pytest.raises(NetworkError, match="weights are on the device 'meta', which holds no values: load them"):
            run()
