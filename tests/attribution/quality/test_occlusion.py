import copy
import itertools
import math

import pytest
import torch

import attribution
from attribution.errors import InvalidInput, InvalidOption, InvalidTarget
from attribution.quality.occlusion import occlusion_curves, random_maps
from tests.attribution.tiny_models import MODELS, N_CLASSES, images, tiny_model

TARGET = torch.tensor([0, 2, 1])


def follow(name="plain", maps=None, inputs=None, target=TARGET, output="logit", **options):
    network = attribution.Network(tiny_model(name), output=output)
    inputs = images() if inputs is None else inputs
    return occlusion_curves(network, inputs, images(seed=7) if maps is None else maps, target, **options)


def slow(module, image, order_map, target, fill, n_steps, share, chosen, *, insert=False, positive_only=True):
    """One pixel after another."""
    _, height, width = image.shape
    order = sorted(
        ((i, j) for i in range(height) for j in range(width)), key=lambda at: -float(order_map[:, at[0], at[1]].sum())
    )
    if positive_only:
        order = [at for at in order if float(order_map[:, at[0], at[1]].sum()) > 0]
    curves, counts = [], []
    for step in range(n_steps + 1):
        current = (fill if insert else image).clone()
        removed = order[: round(share * height * width * step / n_steps)]
        for i, j in removed:
            current[:, i, j] = (image if insert else fill)[:, i, j]
        with torch.no_grad():
            logits = module(current.clone().unsqueeze(0))[0]
        p = logits.softmax(0).tolist()
        values = [float(logits[number]) for number in chosen]
        mean = sum(values) / len(values)
        curves.append(
            (
                p[target],
                -sum(p[number] * math.log(p[number]) for number in chosen),
                (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5,
            )
        )
        counts.append(len(removed))
    return torch.tensor(curves, dtype=torch.float64), counts


@pytest.mark.parametrize("insert", [False, True])
@pytest.mark.parametrize("positive_only", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_equals_one_pixel_after_another(name, positive_only, insert):
    fill, order_map = images(seed=5), images(seed=7)
    options = {"n_steps": 5, "share": 0.8, "insert": insert, "positive_only": positive_only}
    found = follow(name, baseline=fill, chunk_size=4, **options)
    module = copy.deepcopy(tiny_model(name)).eval()
    for row in range(3):
        expected, counts = slow(
            module, images()[row], order_map[row], int(TARGET[row]), fill[row], chosen=range(N_CLASSES), **options
        )
        curves = torch.stack([found.prediction[row], found.entropy[row], found.standard_deviation[row]], dim=1)
        assert torch.allclose(curves, expected, rtol=1e-9, atol=1e-12)
        assert found.n_removed[row].tolist() == counts
        heights = expected[:, 0].tolist()
        area = sum((left + right) / 2 for left, right in itertools.pairwise(heights)) / 5
        assert float(found.prediction_area[row]) == pytest.approx(area)
    assert found.shares.tolist() == pytest.approx([0, 0.16, 0.32, 0.48, 0.64, 0.8])


def test_classes_are_those_of_the_whole_image():
    found = follow(classes=attribution.TopK(2), n_steps=3, positive_only=False)
    module, zero = tiny_model("plain").eval(), torch.zeros_like(images()[0])
    for row in range(3):
        chosen = module(images()[row : row + 1])[0].topk(2).indices.tolist()
        expected, _ = slow(
            module, images()[row], images(seed=7)[row], int(TARGET[row]), zero, 3, 1.0, chosen, positive_only=False
        )
        assert torch.allclose(found.entropy[row], expected[:, 1])
        assert torch.allclose(found.standard_deviation[row], expected[:, 2])


def test_deviation_is_of_what_the_network_explains():
    logits = tiny_model("plain").eval()(images())
    for output, values in (("probability", logits.softmax(1)), ("log_probability", logits.log_softmax(1))):
        found = follow(output=output, n_steps=1)
        assert torch.allclose(found.standard_deviation[:, 0], values.std(1, correction=0).detach())
        assert torch.allclose(found.prediction[:, 0], logits.softmax(1).gather(1, TARGET.unsqueeze(1))[:, 0].detach())


def test_ends_are_the_image_and_the_baseline():
    fill = images(1, seed=5)
    gone = follow(baseline=fill, positive_only=False, n_steps=3)
    back = follow(baseline=fill, positive_only=False, n_steps=3, insert=True)
    for name in ("prediction", "entropy", "standard_deviation"):
        first, last = getattr(gone, name), getattr(back, name)
        assert torch.allclose(first[:, 0], last[:, -1])
        assert torch.allclose(first[:, -1], last[:, 0])
    of_fill = follow(inputs=fill.expand(3, -1, -1, -1), n_steps=1)
    assert torch.allclose(back.standard_deviation[:, 0], of_fill.standard_deviation[:, 0])
    assert torch.allclose(back.prediction[:, 0], of_fill.prediction[:, 0])


@pytest.mark.parametrize("insert", [False, True])
def test_a_fill_is_told_which_pixels_of_which_image_are_gone(insert):
    """Here the fill is what is left of the image, summed, and its number."""
    inputs, order_map, module = images(), images(seed=7), tiny_model("plain").eval()

    def fill(rows, gone):
        left = inputs[rows].masked_fill(gone.unsqueeze(1), 0).sum((1, 2, 3)) / 100 + rows
        return left.view(-1, 1, 1, 1).expand(-1, *inputs.shape[1:])

    found = follow(baseline=fill, insert=insert, n_steps=4, positive_only=False, chunk_size=4)
    for row in range(3):
        order = order_map[row].sum(0).flatten().argsort(descending=True).tolist()
        for step in range(5):
            moved = set(order[: 9 * step])
            current = inputs[row].flatten(1).clone()
            away = [pixel for pixel in range(36) if (pixel in moved) != insert]
            current[:, away] = 0
            current[:, away] = float(current.sum() / 100 + row)
            expected = module(current.view(1, *inputs.shape[1:]))[0].softmax(0)[TARGET[row]].detach()
            assert float(found.prediction[row, step]) == pytest.approx(float(expected), rel=1e-9)


def test_a_map_without_positive_values_removes_nothing():
    found = follow(maps=-images(seed=7).abs(), n_steps=4)
    assert not bool(found.n_removed.any())
    assert bool((found.prediction == found.prediction[:, :1]).all())


def test_evidence_in_its_order_takes_the_class_apart_faster_than_chance():
    inputs = images(8)
    network = attribution.Network(tiny_model("plain"))
    target = network(inputs).argmax(1)
    std = attribution.multiclass_importance(network, inputs).std
    random = random_maps(inputs, torch.Generator().manual_seed(0))
    assert random.shape == (8, 1, 6, 6)
    ours, theirs = (occlusion_curves(network, inputs, maps, target, share=0.5) for maps in (std, random))
    assert float(ours.standard_deviation_area.mean()) < float(theirs.standard_deviation_area.mean())
    assert float(ours.entropy_area.mean()) > float(theirs.entropy_area.mean())


def test_chunks_and_rows_are_independent():
    whole = follow(n_steps=7)
    for row in range(3):
        alone = follow(
            inputs=images()[row : row + 1], maps=images(seed=7)[row : row + 1], target=TARGET[row : row + 1],
            n_steps=7, chunk_size=3,
        )  # fmt: skip
        assert torch.allclose(alone.entropy[0], whole.entropy[row], rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"maps": images()[:2]}, InvalidInput, "maps has shape"),
        ({"maps": torch.cat([images(), images()[:, :1]], dim=1)}, InvalidInput, "2 or 1"),
        ({"maps": images()[..., :5]}, InvalidInput, "maps has shape"),
        ({"maps": torch.full_like(images(), math.nan)}, InvalidInput, "NaN"),
        ({"target": torch.tensor([[0], [1], [2]])}, InvalidTarget, "one class an image"),
        ({"target": torch.tensor([0, 1])}, InvalidTarget, "batch of 3"),
        ({"target": torch.tensor([0, 1, 3])}, InvalidTarget, "0 to 2"),
        ({"target": 1}, InvalidTarget, "one class an image"),
        ({"baseline": images()[:2]}, InvalidInput, "baseline has 2 rows"),
        ({"n_steps": 0}, InvalidOption, "n_steps"),
        ({"share": 0.0}, InvalidOption, "share"),
        ({"share": 1.5}, InvalidOption, "share"),
        ({"classes": [1]}, InvalidTarget, "at least two"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        follow(**options)
