"""Hooks and computed weights: what belongs to the function is explained, what looks on is left behind."""

import copy
import functools

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, prune

import attribution
from attribution.errors import NetworkError
from tests.attribution.networks.references import (
    Classifier,
    Untraceable,
    assert_explains,
    built,
    distance,
    one_by_one,
    pooled,
)
from tests.attribution.tiny_models import SHAPE, images

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")


def network_of(change):
    """Returns a small network that ``change`` has put hooks on; its head is ``[6]``."""

    def make():
        module = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        module.append(nn.Linear(4, 3)).double()
        change(module)
        return module

    return built(make)


def hooks_of(module):
    return [
        (path, table, dict(getattr(part, table)))
        for path, part in module.named_modules()
        for table in ("_forward_pre_hooks", "_forward_hooks")
    ]


def warnings_of(network, start):
    return [warning for warning in network.report().warnings if warning.startswith(start)]


def weight_normed(module):
    nn.utils.weight_norm(module[0])
    nn.utils.weight_norm(module[6], dim=None)


def parametrised_weight_norm(module):
    parametrizations.weight_norm(module[0])
    parametrizations.weight_norm(module[6])


def spectrally_normed(module):
    nn.utils.spectral_norm(module[2])
    nn.utils.spectral_norm(module[6])


def parametrised_spectral_norm(module):
    parametrizations.spectral_norm(module[2])
    parametrizations.spectral_norm(module[6])


def pruned(module):
    prune.l1_unstructured(module[0], "weight", amount=0.5)
    prune.random_structured(module[2], "weight", amount=0.5, dim=0)
    prune.l1_unstructured(module[2], "bias", amount=0.5)


def pruned_twice(module):
    prune.l1_unstructured(module[0], "weight", amount=0.5)
    prune.l1_unstructured(module[0], "weight", amount=0.3)


def pruned_everywhere(module):
    places = [(module[place], "weight") for place in (0, 2, 6)]
    prune.global_unstructured(places, pruning_method=prune.L1Unstructured, amount=0.4)


def normed_and_pruned(module):
    nn.utils.weight_norm(module[0])
    prune.l1_unstructured(module[0], "weight_v", amount=0.5)


class LowRank(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.randn(3, 2))

    def forward(self, weight):
        return weight + self.up @ self.down


def parametrised_by_hand(module):
    parametrize.register_parametrization(module[6], "weight", LowRank().double())
    parametrize.register_parametrization(module[6], "bias", nn.Softplus())


def standardised_by_a_hook(module):
    weight = module[0].weight
    del module[0].weight
    module[0].register_parameter("raw", nn.Parameter(weight.detach()))

    def standardise(part, _):
        part.weight = (part.raw - part.raw.mean((1, 2, 3), keepdim=True)) / part.raw.std((1, 2, 3), keepdim=True)

    module[0].register_forward_pre_hook(standardise)


COMPUTED_WEIGHTS = {
    weight_normed: {"0.weight", "6.weight"},
    parametrised_weight_norm: {"0.weight", "6.weight"},
    spectrally_normed: {"2.weight", "6.weight"},
    parametrised_spectral_norm: {"2.weight", "6.weight"},
    pruned: {"0.weight", "2.weight", "2.bias"},
    pruned_twice: {"0.weight"},
    pruned_everywhere: {"0.weight", "2.weight", "6.weight"},
    normed_and_pruned: {"0.weight", "0.weight_v"},
    parametrised_by_hand: {"6.weight", "6.bias"},
    standardised_by_a_hook: {"0.weight"},
}


@pytest.mark.parametrize("change", COMPUTED_WEIGHTS, ids=lambda change: change.__name__)
def test_computed_weights_are_explained_as_they_are_now(change):
    module = network_of(change)
    before = hooks_of(module)
    network = attribution.Network(module, SHAPE)
    assert_explains(network, module)
    assert hooks_of(module) == before
    (said,) = warnings_of(network, "weights that are computed are explained as computed now: ")
    assert set(said.partition(": ")[2].split(", ")) == COMPUTED_WEIGHTS[change]
    assert warnings_of(network, "hooks") == []
    assert network.report().linear_head == ("6", 4, 3)


@pytest.mark.parametrize("change", [pruned, weight_normed, spectrally_normed], ids=lambda change: change.__name__)
def test_weights_are_computed_of_a_state_that_is_loaded_afterwards(change):
    trained = network_of(change)
    with torch.no_grad():
        for tensor in trained.parameters():
            tensor.mul_(1.5).add_(0.1)
    module = network_of(change)
    module.load_state_dict(copy.deepcopy(trained.state_dict()))
    assert_explains(attribution.Network(module, SHAPE), trained)


def test_computed_weights_of_a_network_without_a_graph():
    module = Untraceable(network_of(pruned))
    network = attribution.Network(module, SHAPE)
    assert not network.report().traced
    assert_explains(network, module)
    assert "network.0.weight" in warnings_of(network, "weights")[0]


def twice_the_output(module):
    module[0].register_forward_hook(lambda part, args, output: 2 * output)


def written_into_the_output(module):
    def hook(part, args, output):
        output.mul_(2)

    module[0].register_forward_hook(hook)


def shifted_input(module):
    module[2].register_forward_pre_hook(lambda part, args: (args[0] - 0.5,))


def bare_shifted_input(module):
    module[2].register_forward_pre_hook(lambda part, args: args[0] - 0.5)


def output_with_keywords(module):
    module[0].register_forward_hook(lambda part, args, kwargs, output: output / 3, with_kwargs=True)


def input_with_keywords(module):
    module[0].register_forward_pre_hook(lambda part, args, kwargs: ((2 * args[0],), kwargs), with_kwargs=True)


def normalised_images(module):
    mean = torch.tensor([0.4, 0.6], dtype=torch.float64).view(1, 2, 1, 1)
    module.register_forward_pre_hook(lambda part, args: ((args[0] - mean) / 0.2,))


def temperature_on_the_network(module):
    module.register_forward_hook(lambda part, args, output: output / 3)


def keywords_on_the_network(module):
    module.register_forward_hook(lambda part, args, kwargs, output: output / 3, with_kwargs=True)


def scaled_head(module):
    module[6].register_forward_hook(lambda part, args, output: output / (3 * part.weight.norm()))


def two_in_a_row(module):
    twice_the_output(module)
    module[0].register_forward_hook(lambda part, args, output: output + 1)
    module[0].register_forward_hook(lambda part, args, output: None)


def dropout_that_is_off(module):
    module[1].register_forward_hook(lambda part, args, output: functional.dropout(output, 0.5, part.training) + 0.1)


CHANGING = {
    twice_the_output: "0",
    written_into_the_output: "0",
    shifted_input: "2",
    bare_shifted_input: "2",
    output_with_keywords: "0",
    input_with_keywords: "0",
    normalised_images: "the network itself",
    temperature_on_the_network: "the network itself",
    keywords_on_the_network: "the network itself",
    scaled_head: "6",
    two_in_a_row: "0",
    dropout_that_is_off: "1",
}


@pytest.mark.parametrize("change", CHANGING, ids=lambda change: change.__name__)
def test_hooks_that_change_values_are_part_of_what_is_explained(change):
    module = network_of(change)
    assert distance(one_by_one(network_of(lambda _: None), images()), one_by_one(module, images())) > 0.01
    before = hooks_of(module)
    network = attribution.Network(module, SHAPE)
    assert network.report().traced
    assert_explains(network, module)
    assert hooks_of(module) == before
    (said,) = warnings_of(network, "hooks change values, or might, and are part of the explained network: ")
    assert said.partition(": ")[2].startswith(f"{CHANGING[change]} (")


@pytest.mark.parametrize(
    "change", [twice_the_output, shifted_input, written_into_the_output], ids=lambda change: change.__name__
)
def test_hooks_that_change_values_without_a_graph(change):
    module = Untraceable(network_of(change))
    network = attribution.Network(module, SHAPE)
    assert not network.report().traced
    assert_explains(network, module)
    assert warnings_of(network, "hooks change values, or might")


def test_a_hook_that_cannot_be_traced_leaves_the_network_without_a_graph():
    def change(module):
        module[0].register_forward_hook(lambda part, args, output: output * (2 if output.mean() > 1e9 else 3))

    module = network_of(change)
    network = attribution.Network(module, SHAPE)
    assert "in module '0' (test_hooks.py, line" in network.report().reason
    assert_explains(network, module)


def test_a_hook_on_a_module_with_several_outputs():
    class Pair(nn.Module):
        def forward(self, x):
            return torch.tanh(x), x.mean()

    def forward(self, x):
        return self.head(pooled(self.pair(self.conv(x))[0]))

    module = built(lambda: Classifier(forward, pair=Pair()))
    module.pair.register_forward_hook(lambda part, args, output: (output[0] + 0.3, output[1]))
    network = attribution.Network(module, SHAPE)
    assert_explains(network, module)
    assert warnings_of(network, "hooks change values, or might, and are part of the explained network: pair (")


def test_hooks_that_look_on_are_left_behind_and_not_called_again():
    seen = []

    def log(part, args, output):
        seen.append(output.shape)

    def require_finite(part, args, output):
        seen.append("finite")
        if not output.isfinite().all():
            raise RuntimeError("not finite")

    def keep(part, args, output):
        seen.append("kept")
        part.activation = output

    module = network_of(lambda _: None)
    module[0].register_forward_hook(log)
    module[2].register_forward_hook(require_finite)
    module[3].register_forward_hook(keep)
    module.register_forward_pre_hook(lambda part, args: seen.append("before"))
    before = hooks_of(module)
    network = attribution.Network(module, SHAPE)
    seen.clear()
    assert distance(network(images()), one_by_one(network_of(lambda _: None), images())) < 1e-12
    attribution.integrated_gradients(network, images(), torch.tensor([0, 1, 2]), baseline=0 * images(1))
    attribution.layer_shapley(network, images(), torch.tensor([0, 1, 2]), background=0 * images(1))
    assert seen == []
    (said,) = warnings_of(network, "hooks that change nothing were left behind: ")
    assert [f"{path} (" in said for path in ("0", "2", "3", "the network itself")] == [True] * 4
    assert warnings_of(network, "hooks change values, or might") == []
    assert hooks_of(module) == before
    assert not hasattr(module[3], "activation")
    module(images())
    assert len(seen) == 4


def test_hooks_that_look_on_are_told_apart_from_those_that_change_values():
    module = network_of(twice_the_output)
    module[2].register_forward_hook(lambda part, args, output: None)
    network = attribution.Network(module, SHAPE)
    (changing,), (looking,) = (
        warnings_of(network, "hooks change values, or might"),
        warnings_of(network, "hooks that change"),
    )
    assert changing.partition(": ")[2].startswith("0 (")
    assert looking.partition(": ")[2].startswith("2 (")


def test_a_hook_that_holds_an_open_file_is_left_behind(tmp_path):
    with (tmp_path / "log").open("w") as file:
        module = network_of(lambda _: None)
        module[0].register_forward_hook(lambda part, args, output: print(output.shape, file=file))
        network = attribution.Network(module, SHAPE)
        assert_explains(network, module)
        assert warnings_of(network, "hooks that change nothing were left behind: 0 (")


def overflows(values):
    return values.detach().abs().max() > 10


def returned_where_it_overflows(module):
    def guard(part, args, output):
        if overflows(output):
            return output.clamp(-0.5, 0.5)
        return None

    module[0].register_forward_hook(guard)


def written_where_it_overflows(module):
    def guard(part, args, output):
        if overflows(output):
            output.clamp_(-0.5, 0.5)

    module[0].register_forward_hook(guard)


def assigned_where_it_overflows(module):
    def guard(part, args, output):
        if overflows(output):
            output[output > 0.5] = 0.5

    module[0].register_forward_hook(guard)


def input_where_it_overflows(module):
    def guard(part, args):
        if overflows(args[0]):
            return (args[0].clamp(-0.5, 0.5),)
        return None

    module[0].register_forward_pre_hook(guard)


def while_it_overflows(module):
    def guard(part, args, output):
        while overflows(output):
            return output / 10
        return None

    module[0].register_forward_hook(guard)


def where_a_check_fails(module):
    def guard(part, args, output):
        try:
            assert not overflows(output)
        except AssertionError:
            return output / 10
        return None

    module[0].register_forward_hook(guard)


class Guard:
    def __init__(self, bound):
        self.bound = bound

    def __call__(self, part, args, output):
        if overflows(output):
            return output.clamp(-self.bound, self.bound)
        return None

    def method(self, part, args, output):
        return self(part, args, output) if overflows(output) else output


def by_an_object(module):
    module[0].register_forward_hook(Guard(0.5))


def by_a_method(module):
    module[0].register_forward_hook(Guard(0.5).method)


def by_a_partial_function(module):
    def guard(bound, part, args, output):
        if overflows(output):
            return output.clamp(-bound, bound)
        return None

    module[0].register_forward_hook(functools.partial(guard, 0.5))


def on_the_network(module):
    def guard(part, args):
        if overflows(args[0]):
            return (args[0].clamp(-0.5, 0.5),)
        return None

    module.register_forward_pre_hook(guard)


GUARDS = {
    returned_where_it_overflows: "0",
    written_where_it_overflows: "0",
    assigned_where_it_overflows: "0",
    input_where_it_overflows: "0",
    while_it_overflows: "0",
    where_a_check_fails: "0",
    by_an_object: "0",
    by_a_method: "0",
    by_a_partial_function: "0",
    on_the_network: "the network itself",
}


@pytest.mark.parametrize("change", GUARDS, ids=lambda change: change.__name__)
def test_hooks_that_act_on_other_images_alone_are_part_of_what_is_explained(change):
    module, plain = network_of(change), network_of(lambda _: None)
    large = 30 * images(2)
    assert torch.equal(one_by_one(module, images()), one_by_one(plain, images()))
    assert distance(one_by_one(module, large), one_by_one(plain, large)) > 0.01
    network = attribution.Network(module, SHAPE)
    assert_explains(network, module)
    assert_explains(network, module, inputs=large)
    (said,) = warnings_of(network, "hooks change values, or might, and are part of the explained network: ")
    assert said.partition(": ")[2].startswith(f"{GUARDS[change]} (")


class Collecting(nn.Module):
    """Reads features in its forward pass that a hook has put somewhere."""

    def __init__(self, collect):
        super().__init__()
        self.body, self.head, self.seen = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh()), nn.Linear(4, 3), {}
        self.read = collect(self)

    def forward(self, x):
        self.body(x)
        return self.head(pooled(self.read(self)))

    def save(self, part, args, output):
        self.seen["features"] = output

    def save_attribute(self, part, args, output):
        self.latest = [output]


def by_a_bound_method(module):
    module.body[1].register_forward_hook(module.save)
    return lambda self: self.seen["features"]


def in_a_list_by_a_bound_method(module):
    module.body[1].register_forward_hook(module.save_attribute)
    return lambda self: self.latest[0]


def on_the_part_itself(module):
    def keep(part, args, output):
        part.kept = output

    module.body[1].register_forward_hook(keep)
    return lambda self: self.body[1].kept


def the_input_on_the_part_itself(module):
    def keep(part, args):
        part.kept = args[0]

    module.body[1].register_forward_pre_hook(keep)
    return lambda self: torch.tanh(self.body[1].kept)


class Store(nn.Module):
    def __init__(self):
        super().__init__()
        self.value = None

    def __call__(self, part, args, output):
        self.value = output


def in_a_module_of_their_own(module):
    module.store = Store()
    module.body[1].register_forward_hook(module.store)
    return lambda self: self.store.value


COLLECTED = [
    *(by_a_bound_method, in_a_list_by_a_bound_method, on_the_part_itself, the_input_on_the_part_itself),
    in_a_module_of_their_own,
]


@pytest.mark.parametrize("has_run", [False, True], ids=["new", "has run"])
@pytest.mark.parametrize("collect", COLLECTED)
def test_features_that_hooks_collect_are_read_by_the_copys_own(collect, has_run):
    module, reference = (built(lambda: Collecting(collect)) for _ in range(2))
    if has_run:
        module(images(1))
    before = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    network = attribution.Network(module, SHAPE)
    assert_explains(network, reference)
    assert warnings_of(network, "hooks change values, or might, and are part of the explained network: body.1 (")
    assert {name: value for name, value in vars(module).items() if not name.startswith("_")} == before


def by_a_closure(module):
    module.body[1].register_forward_hook(lambda part, args, output: module.seen.update(features=output))
    return lambda self: self.seen["features"]


def by_a_closure_over_the_dictionary(module):
    seen = module.seen
    module.body[1].register_forward_hook(lambda part, args, output: seen.update(features=output))
    return lambda self: self.seen["features"]


def as_an_attribute_by_a_closure(module):
    module.body[1].register_forward_hook(lambda part, args, output: setattr(module, "latest", output))
    return lambda self: self.latest


@pytest.mark.parametrize("collect", [by_a_closure, by_a_closure_over_the_dictionary, as_an_attribute_by_a_closure])
def test_features_that_hooks_collect_in_the_callers_module_are_refused(collect):
    with pytest.raises(NetworkError, match=r"a copy fails where .*its forward hooks \(body\.1 \("):
        attribution.Network(built(lambda: Collecting(collect)), SHAPE)
    module = built(lambda: Collecting(collect))
    module(images(1))
    with pytest.raises(NetworkError):
        attribution.Network(module, SHAPE)


class Scaled(nn.Module):
    """Multiplies its logits by what a hook has left in it."""

    def __init__(self, scale, use):
        super().__init__()
        self.network = Classifier(lambda self, x: self.head(pooled(self.features(x))))
        if isinstance(scale, torch.Tensor):
            self.register_buffer("scale", scale)
        else:
            self.scale = scale
        self.use = use

    def forward(self, x):
        return self.network(x) * self.use(self.scale)


def left(value):
    """Returns a hook that leaves a value of the image's sides."""

    def hook(part, args):
        part.scale = value(*args[0].shape[2:])

    return hook


def same(scale):
    return scale


SMALL, LARGE = SHAPE, (2, 9, 12)
NUMBERS = {
    "a number": (3.0, same, left(lambda height, width: 36.0 / (height * width)), SMALL),
    "a number, large first": (3.0, same, left(lambda height, width: 36.0 / (height * width)), LARGE),
    "a whole number": (1, same, left(lambda height, width: height // 3), SMALL),
    "a flag": (False, lambda scale: 2 if scale else 1, left(lambda height, width: height > 8), LARGE),
    "a flag, small first": (True, lambda scale: 2 if scale else 1, left(lambda height, width: height > 8), SMALL),
    "a word": ("small", len, left(lambda height, width: "small" if height < 8 else "very large"), LARGE),
}


@pytest.mark.parametrize(("scale", "use", "hook", "first"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_that_a_hook_leaves_are_those_of_each_size(scale, use, hook, first):
    module = built(lambda: Scaled(scale, use))
    module.register_forward_pre_hook(hook)
    network = attribution.Network(module, first)
    assert type(module.scale) is type(scale)
    assert module.scale == scale
    for shape in (first, (2, 12, 9), SMALL, LARGE):
        assert_explains(network, module, shape)
        module.scale = scale


def tensor_of(height, width):
    return torch.tensor(36.0 / (height * width), dtype=torch.float64)


@pytest.mark.parametrize("start", [torch.tensor(1.0), torch.tensor(5.0)], ids=["the same at first", "another"])
@pytest.mark.parametrize("wrapped", [lambda module: module, Untraceable], ids=["graph", "no graph"])
def test_weights_that_a_hook_computes_of_the_size_are_refused_at_another(start, wrapped):
    module = built(lambda: Scaled(start, same))
    module.register_forward_pre_hook(left(tensor_of))
    module = wrapped(module)
    network = attribution.Network(module, SHAPE)
    assert_explains(network, module)
    with pytest.raises(NetworkError, match=r"for images of \(2, 9, 12\) hooks compute other weights"):
        network(torch.zeros(1, 2, 9, 12, dtype=torch.float64))
    assert_explains(network, module)
    assert_explains(attribution.Network(module, (2, 9, 12)), module, (2, 9, 12))
    assert_explains(network, module, (2, 4, 9))


def clamp_out(part, args, output):
    if output.abs().max() > 10:
        torch.clamp(output, -10, 10, out=output)


def clamp_in_place(part, args, output):
    if output.abs().max() > 10:
        output.clamp_(-10, 10)


def halve(part, args, output):
    if output.abs().max() > 10:
        output *= 0.5


def clamp_or_nothing(part, args, output):
    return output.clamp(-10, 10) if output.abs().max() > 10 else None


def delegate(part, args, output):
    return clamp_or_nothing(part, args, output)


@pytest.mark.parametrize("hook", [clamp_out, clamp_in_place, halve, clamp_or_nothing, delegate])
def test_hooks_that_act_on_large_values_alone_are_kept(hook):
    module = network_of(lambda _: None)
    module[0].register_forward_hook(hook)
    network = attribution.Network(module, SHAPE)
    large = 60 * images(2)
    assert distance(network(large).detach(), one_by_one(module, large)) < 1e-12
    assert warnings_of(network, "hooks change values, or might")


def test_what_is_refused_once_is_refused_again():
    module = built(lambda: Classifier(lambda self, x: self.head(pooled(self.features(x + torch.randn_like(x))))))
    network = attribution.Network(module)
    for _ in range(2):
        with pytest.raises(NetworkError, match="random"):
            network(images(2))
