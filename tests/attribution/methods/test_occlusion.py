"""Occlusion against a loop over windows in the caller's own module, a closed form, and Captum."""

import copy

import captum.attr
import pytest
import torch
from torch import nn

import attribution
from attribution import FeatureMap, Network
from attribution.errors import InvalidInput, InvalidOption, InvalidTarget, NetworkError, OutOfMemory
from tests.attribution.tiny_models import MODELS, N_CLASSES, SHAPE, hungry, images, tiny_model

TARGET = torch.tensor([0, 2, 1])
WINDOW, STRIDE = (3, 2), (2, 1)


def explain(module, inputs=None, target=TARGET, **options):
    inputs = images() if inputs is None else inputs
    options = {"window": WINDOW, "stride": STRIDE} | options
    return attribution.occlusion(Network(module, inputs.shape[1:]), inputs, target, **options)


def slow_changes(module, image, fill, window=WINDOW, stride=STRIDE):
    """All outputs of the image less those with each window filled, by plain loops: a list of places, and the values."""
    module = copy.deepcopy(module).eval()
    _, height, width = image.shape
    boxes, changes = [], []
    for top in range(0, height, stride[0]):
        for left in range(0, width, stride[1]):
            last = (top, left)
            if any(
                at > 0 and at - step + size >= side
                for at, step, size, side in zip(last, stride, window, (height, width), strict=True)
            ):
                continue
            box = (slice(top, top + window[0]), slice(left, left + window[1]))
            hidden = image.clone()
            hidden[:, box[0], box[1]] = fill[:, box[0], box[1]]
            boxes.append(box)
            changes.append(module(image.clone()[None])[0].detach() - module(hidden[None])[0].detach())
    return boxes, torch.stack(changes)


def slow_map(boxes, changes, sides):
    total, counts = torch.zeros(sides, dtype=changes.dtype), torch.zeros(sides)
    for (rows, columns), change in zip(boxes, changes, strict=True):
        total[rows, columns] += change
        counts[rows, columns] += 1
    return total / counts


@pytest.mark.parametrize("name", MODELS)
def test_every_trap_network_loses_what_a_loop_says(name):
    module, inputs, fill = tiny_model(name), images(), images(1, seed=5)
    found = explain(module, baseline=fill)
    for row in range(3):
        boxes, changes = slow_changes(module, inputs[row], fill[0])
        own, output = changes[:, TARGET[row]], copy.deepcopy(module).eval()(inputs[row : row + 1].clone())[0]
        torch.testing.assert_close(found.changes[row].flatten(), own, rtol=0, atol=1e-10)
        torch.testing.assert_close(found.maps[row, 0], slow_map(boxes, own, SHAPE[1:]), rtol=0, atol=1e-10)
        torch.testing.assert_close(found.outputs[row], output[TARGET[row]].detach())
        torch.testing.assert_close(found.percentages[row], 100 * found.changes[row] / found.outputs[row].abs())
        rises = (-changes).amax(0)
        expected = [index for index in rises.argsort(descending=True).tolist() if rises[index] > 1e-9]
        assert found.rises.classes[row].tolist()[: len(expected)] == expected
        assert set(found.rises.classes[row].tolist()[len(expected) :]) <= {-1}
        for place, index in enumerate(expected):
            assert int(found.rises.windows[row, place]) == int((-changes[:, index]).argmax())
            assert float(found.rises.rises[row, place]) == pytest.approx(float(rises[index]))


def test_of_a_linear_network_a_window_takes_what_its_pixels_give():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(72, N_CLASSES)).double()
    inputs = images()
    found = explain(module, window=2, stride=2)
    given = inputs * module[1].weight[TARGET].view(3, *SHAPE)
    expected = nn.functional.avg_pool2d(given.sum(1, keepdim=True), 2, divisor_override=1)[:, 0]
    torch.testing.assert_close(found.changes, expected.detach())


@pytest.mark.parametrize(("window", "stride"), [((3, 2), (2, 1)), ((4, 4), (3, 3)), ((6, 6), (6, 6))])
def test_equals_captum(window, stride):
    module, inputs = tiny_model("residual"), images()
    theirs = captum.attr.Occlusion(copy.deepcopy(module).eval()).attribute(
        inputs.clone(),
        sliding_window_shapes=(2, *window),
        strides=(2, *stride),
        baselines=0.25,
        target=TARGET,
    )
    found = explain(module, window=window, stride=stride, baseline=torch.full((1, *SHAPE), 0.25).double())
    torch.testing.assert_close(found.maps.expand_as(theirs), theirs.double(), rtol=1e-5, atol=1e-6)


def feature_values(module, layer, image):
    kept = []
    handle = dict(module.named_modules())[layer].register_forward_hook(lambda _m, _i, output: kept.append(output))
    module(image)
    handle.remove()
    return kept[0].detach()[0]


@pytest.mark.parametrize(
    ("layer", "summary", "number"),
    [
        ("0", "mean", lambda values: values[1].mean()),
        ("1", "max", lambda values: values[1].max()),
        ("0", (2, 5), lambda values: values[1, 2, 5]),
        ("2.1", "mean", lambda values: values[1]),
    ],
)
def test_feature_maps_lose_what_a_loop_says(layer, summary, number):
    module, inputs = tiny_model("plain").eval(), images(2)
    found = explain(module, inputs, TARGET[:2], feature_maps=[FeatureMap(layer, 1, summary)]).feature_maps
    for row in range(2):
        before = number(feature_values(module, layer, inputs[row : row + 1]))
        boxes, _ = slow_changes(module, inputs[row], torch.zeros(SHAPE).double())
        after = []
        for rows, columns in boxes:
            hidden = inputs[row].clone()
            hidden[:, rows, columns] = 0
            after.append(number(feature_values(module, layer, hidden[None])))
        expected = before - torch.stack(after)
        torch.testing.assert_close(found.changes[row, 0].flatten(), expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(found.maps[row, 0, 0], slow_map(boxes, expected, SHAPE[1:]), rtol=0, atol=1e-12)
        torch.testing.assert_close(found.numbers[row, 0], before)


def test_several_baselines_are_averaged():
    module, fills = tiny_model("max_pool"), [images(3, seed=7), images(1, seed=8)]
    both = explain(module, baseline=fills)
    apart = [explain(module, baseline=fill) for fill in fills]
    torch.testing.assert_close(both.changes, (apart[0].changes + apart[1].changes) / 2)


def test_one_class_against_another_is_the_difference_of_both_maps():
    module, against = tiny_model("residual"), torch.tensor([1, 0, 2])
    found = explain(module, against=against)
    own, other = explain(module), explain(module, target=against)
    torch.testing.assert_close(found.maps, own.maps - other.maps, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.outputs, own.outputs - other.outputs)


def test_images_and_classes_do_not_depend_on_each_other_or_on_chunks():
    module, inputs = tiny_model("residual"), images(4)
    target = torch.stack([torch.arange(4) % N_CLASSES, (torch.arange(4) + 1) % N_CLASSES], dim=1)
    together = explain(module, inputs, target, chunk_size=3)
    for row in range(4):
        for place in range(2):
            alone = explain(module, inputs[row : row + 1], target[row : row + 1, place], chunk_size=50)
            torch.testing.assert_close(alone.changes[0], together.changes[row, place], rtol=0, atol=1e-12)
            assert torch.equal(alone.rises.windows[0], together.rises.windows[row])


def test_probabilities_are_explained_where_asked():
    module, inputs = tiny_model("plain"), images(1)
    network = Network(module, SHAPE, output="probability")
    found = attribution.occlusion(network, inputs, TARGET[:1], window=6, stride=6)
    own = copy.deepcopy(module).eval()
    likely = [own(image)[0].softmax(0)[0].detach() for image in (inputs, torch.zeros_like(inputs))]
    torch.testing.assert_close(found.changes.flatten(), (likely[0] - likely[1]).view(1))


def test_an_output_of_nothing_has_no_percentage():
    module = nn.Sequential(nn.Flatten(), nn.Linear(72, 2, bias=False)).double()
    nn.init.zeros_(module[1].weight)
    found = explain(module, images(1), torch.tensor([0]))
    assert bool(found.percentages.isnan().all())
    assert not bool(found.changes.any())
    assert found.rises.classes.tolist() == [[-1, -1]]


def test_progress_counts_windows():
    told = []
    explain(tiny_model("plain"), chunk_size=4, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3 * 3 * 5, 3 * 3 * 5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"window": 7}, InvalidOption, "window is 7 x 7, larger than the image"),
        ({"stride": 4}, InvalidOption, "stride is 4 x 4 and window 3 x 2: pixels between windows would be left out"),
        ({"n_rises": -1}, InvalidOption, "n_rises is -1"),
        ({"target": torch.tensor([0, 1, 7])}, InvalidTarget, "target contains 7"),
        ({"against": TARGET}, InvalidTarget, "against itself"),
        ({"baseline": torch.zeros(1, 2, 5, 6).double()}, InvalidInput, "baseline has shape"),
        ({"feature_maps": [FeatureMap("conv9", 0)]}, InvalidOption, "names the layer 'conv9'"),
        ({"feature_maps": [FeatureMap("input", 0)]}, InvalidOption, "names the layer 'input'"),
        ({"feature_maps": [FeatureMap("0", 4)]}, InvalidOption, "has the channels 0 to 3, not 4"),
        ({"feature_maps": [FeatureMap("0", 0, "sum")]}, InvalidOption, "summary is 'sum'"),
        ({"feature_maps": [FeatureMap("0", 0, (6, 0))]}, InvalidOption, "has 6 x 6, not row 6 and column 0"),
        ({"feature_maps": [FeatureMap("2.1", 0, (0, 0))]}, InvalidOption, "has no places, not row 0"),
    ],
)
def test_bad_options_are_told(options, error, message):
    with pytest.raises(error, match=message):
        explain(tiny_model("plain"), **options)


def test_feature_maps_need_a_graph():
    with pytest.raises(NetworkError, match="graph"):
        explain(tiny_model("untraceable"), feature_maps=[FeatureMap("conv", 0)])


def test_outputs_that_are_not_finite_are_told():
    class Log(nn.Module):
        def forward(self, x):
            return x.flatten(1).log()[:, :3]

    inputs = images(2).abs() + 1
    with pytest.raises(NetworkError, match="the changes of images 0, 1 are not finite"):
        explain(Log(), inputs, TARGET[:2])


def test_memory_that_runs_out_halves_the_chunk():
    most = [3]
    network = Network(hungry(tiny_model("plain"), most, RuntimeError("out of memory")), SHAPE)
    options = {"window": 2, "stride": 1, "chunk_size": 5}
    assert attribution.occlusion(network, images(2), TARGET[:2], **options).chunk_size == 2
    most[0] = 0
    with pytest.raises(OutOfMemory):
        attribution.occlusion(network, images(2), TARGET[:2], **options)
