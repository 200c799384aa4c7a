"""DeepLIFT against a slow reference, its own sums, layer Shapley's estimator and Captum."""

import copy
import warnings

import captum.attr
import pytest
import torch
from torch import nn

import attribution
from attribution import Concept, Network
from attribution.errors import InvalidInput, InvalidOption, InvalidTarget, NetworkError, OutOfMemory
from tests.attribution.methods.slow_rules import CHAINS, rescale_contributions, steps_of
from tests.attribution.tiny_models import MODELS, N_CLASSES, SHAPE, hungry, images, tiny_model

TARGET = torch.tensor([0, 2, 1])
TRACED = [name for name, model in MODELS.items() if model.traced]
ZERO = torch.zeros(1, *SHAPE, dtype=torch.float64)


def explain(module, target=TARGET, inputs=None, **options):
    inputs = images() if inputs is None else inputs
    if "background" not in options:
        options.setdefault("baseline", images(seed=5)[: len(inputs)])
    return attribution.deeplift(Network(module, SHAPE), inputs, target, **options)


def outputs(module, inputs):
    with torch.no_grad():
        return copy.deepcopy(module).eval()(inputs.clone())


def alike(found, expected, tolerance=1e-9):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("name", CHAINS)
def test_it_is_what_the_paper_says(name):
    module, inputs, references = tiny_model(name), images(), images(seed=5)
    steps, found = steps_of(CHAINS[name](module), SHAPE), explain(module)
    for row in range(3):
        alike(found.maps[row], rescale_contributions(steps, inputs[row], references[row], int(TARGET[row])))


@pytest.mark.parametrize("name", TRACED)
def test_every_trap_network_adds_up_at_the_image_and_at_every_cut(name):
    module = tiny_model(name)
    found = explain(module, layers="all")
    change = (outputs(module, images()) - outputs(module, images(seed=5)))[torch.arange(3), TARGET]
    alike(found.maps.flatten(1).sum(1), change)
    alike(found.explained, change)
    assert float(found.convergence_delta.abs().max()) <= 1e-12 * (1 + float(change.abs().max()))
    cuts = [layer.name for layer in Network(module, SHAPE).layers if layer.cuts and layer.name in found.layer_scores]
    assert len(cuts) >= 2
    for layer in cuts:
        alike(found.layer_scores[layer].sum(1), change)


@pytest.mark.parametrize("name", ["plain", "residual"])
def test_functional_twins_and_other_names_have_the_same_map(name):
    first = tiny_model("plain")
    twin = tiny_model("functional_relu")
    twin.conv, twin.head = first[0], first[2]
    alike(explain(twin).maps, explain(first).maps)
    renamed = nn.Sequential()
    for old, part in first.named_children():
        renamed.add_module(f"other_{old}", part)
    alike(explain(renamed).maps, explain(first).maps)


def test_of_a_linear_network_it_is_the_weight_times_the_difference():
    module = nn.Sequential(nn.Flatten(), nn.Linear(72, N_CLASSES)).double()
    expected = (images() - images(seed=5)) * module[1].weight.detach()[TARGET].view(3, *SHAPE)
    alike(explain(module).maps, expected)


def test_layers_are_those_of_layer_shapleys_estimator():
    module = tiny_model("residual")
    found = explain(module, layers="all", background=images(4, seed=9))
    theirs = attribution.layer_shapley(
        Network(module, SHAPE), images(), TARGET, background=images(4, seed=9), estimator="deeplift", layers="all"
    )
    assert list(found.layer_maps) == list(theirs.maps)
    for layer, values in theirs.maps.items():
        alike(found.layer_maps[layer], values)
        alike(found.layer_scores[layer], theirs.scores[layer])


def test_several_baselines_are_averaged_with_a_standard_error():
    module, background = tiny_model("max_pool"), images(5, seed=9)
    found = explain(module, background=background)
    each = torch.stack([explain(module, baseline=one[None]).maps for one in background])
    alike(found.maps, each.mean(0))
    alike(found.standard_error, each.std(0) / 5**0.5)
    assert found.n_draws == 5
    assert explain(module).standard_error is None
    several = explain(module, baseline=[images(seed=5), ZERO])
    alike(several.maps, (explain(module).maps + explain(module, baseline=ZERO).maps) / 2)


def test_layers_in_front_of_a_concept_have_what_comes_from_it():
    found = explain(tiny_model("residual"), concept=Concept("conv2", [1]), layers=["input", "conv1"])
    alike(found.layer_maps["input"], found.maps.sum(1))
    # A bias takes part in both passes alike, so that nothing is lost between a convolution and the next.
    assert float(found.layer_scores["conv1"].abs().sum()) > 0


def test_images_do_not_depend_on_each_other_nor_on_the_chunk():
    module, inputs = tiny_model("batch_norm"), images(5)
    target = torch.arange(5) % N_CLASSES
    together = explain(module, target, inputs, baseline=ZERO, chunk_size=2)
    for row in range(5):
        alone = explain(module, target[row : row + 1], inputs[row : row + 1], baseline=ZERO)
        alike(alone.maps[0], together.maps[row])


@pytest.mark.parametrize("name", ["plain", "batch_norm", "grouped", "adaptive_pool"])
def test_equals_captum_where_modules_are_plain(name):
    module = copy.deepcopy(tiny_model(name)).eval()
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        expected = captum.attr.DeepLift(module).attribute(images(), images(seed=5), target=TARGET)
    alike(explain(module).maps, expected.detach())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"baseline": None}, InvalidInput, "give either baseline"),
        ({"baseline": torch.zeros(2, *SHAPE).double()}, InvalidInput, "baseline has 2 rows for a batch of 3"),
        ({"layers": ["conv9"]}, InvalidOption, "names 'conv9'"),
        ({"concept": Concept("conv9", [0])}, InvalidOption, "concept.layer is 'conv9'"),
        ({"concept": Concept("conv1", [4])}, InvalidOption, "expected some of the channels 0 to 3 of layer 'conv1'"),
        ({"concept": Concept("conv1", [])}, InvalidOption, "expected some of the channels"),
        ({"concept": Concept("conv1", [0]), "layers": ["conv2"]}, InvalidOption, "lie behind 'conv1'"),
        ({"target": torch.tensor([0, 1, 7])}, InvalidTarget, "target contains 7"),
    ],
)
def test_bad_options_are_told(options, error, message):
    with pytest.raises(error, match=message):
        explain(tiny_model("residual"), **options)


def test_a_network_without_a_graph_or_without_a_rule_says_so():
    with pytest.raises(NetworkError, match="deeplift needs the network's graph"):
        explain(tiny_model("untraceable"))
    module = nn.Sequential(nn.Flatten(), nn.Linear(72, 6), nn.Softmax(1), nn.Linear(6, 3)).double()
    with pytest.raises(NetworkError, match="deeplift has no rule for layer '2'"):
        explain(module)
    assert "no rule" in attribution.applicable_methods(Network(module, SHAPE))["deeplift"]


def test_memory_that_runs_out_halves_the_chunk():
    most = [3]
    network = Network(hungry(tiny_model("plain"), most, RuntimeError("out of memory")), SHAPE)
    found = attribution.deeplift(network, images(5), torch.zeros(5).long(), baseline=ZERO, chunk_size=5)
    assert found.chunk_size == 2
    most[0] = 0
    with pytest.raises(OutOfMemory):
        attribution.deeplift(network, images(2), TARGET[:2], baseline=ZERO)
