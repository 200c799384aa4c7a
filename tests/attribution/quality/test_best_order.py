"""The greedy order of patches against a search written out, and where the best order is known."""

import itertools

import pytest
import torch
from torch import nn

import attribution
from attribution.errors import InvalidInput, InvalidOption, InvalidTarget
from attribution.quality.best_order import best_order
from attribution.quality.imputation import noisy_linear_fill
from attribution.quality.occlusion import occlusion_curves, random_maps
from tests.attribution.tiny_models import MODELS, images, tiny_model

TARGET = torch.tensor([0, 2, 1])


def found_of(name="plain", inputs=None, target=TARGET, **options):
    return best_order(attribution.Network(tiny_model(name)), images() if inputs is None else inputs, target, **options)


def boxes(height, width, grid):
    """The corners of patches, row by row."""
    rows, columns = grid
    return [
        (i * height // rows, (i + 1) * height // rows, j * width // columns, (j + 1) * width // columns)
        for i in range(rows)
        for j in range(columns)
    ]


def slow(module, image, start, target, grid, *, insert):
    """Patch after patch, each tried alone; the numbers of patches as they go, and what is left after each."""
    current, coming = (start.clone(), image) if insert else (image.clone(), start)
    order, left, corners = [], [], boxes(*image.shape[1:], grid)
    while len(order) < len(corners):
        tried = {}
        for number, (top, bottom, first, last) in enumerate(corners):
            if number not in order:
                one = current.clone()
                one[:, top:bottom, first:last] = coming[:, top:bottom, first:last]
                with torch.no_grad():
                    tried[number] = (float(module(one.unsqueeze(0))[0].softmax(0)[target]), one)
        chosen = (max if insert else min)(tried, key=lambda number: tried[number][0])
        order.append(chosen)
        left.append(tried[chosen][0])
        current = tried[chosen][1]
    return order, left


@pytest.mark.parametrize("insert", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_equals_one_patch_after_another(name, insert):
    start, module = images(seed=5), tiny_model(name).eval()
    found = found_of(name, grid=(2, 4), baseline=start, insert=insert, chunk_size=5)
    for row in range(3):
        order, _ = slow(module, images()[row], start[row], int(TARGET[row]), (2, 4), insert=insert)
        assert found.places[row].flatten().argsort().tolist() == order
        for number, (top, bottom, first, last) in enumerate(boxes(6, 6, (2, 4))):
            assert found.maps[row, 0, top:bottom, first:last].unique().tolist() == [8 - order.index(number)]
    assert found.maps.shape == (3, 1, 6, 6)
    assert found.maps.dtype == images().dtype


def linear(weights):
    """Class 0 is what the weights add up to, class 1 is zero: the prediction rises with the sum."""
    head = nn.Linear(weights.numel(), 2, bias=False).double()
    head.weight.data = torch.stack([weights.flatten(), torch.zeros(weights.numel())]).double()
    return attribution.Network(nn.Sequential(nn.Flatten(), head), tuple(weights.shape))


@pytest.mark.parametrize("insert", [False, True])
def test_of_a_sum_the_largest_goes_first_and_no_order_is_better(insert):
    weights = torch.tensor([[0.5, -2.0], [1.5, 0.25]], dtype=torch.float64)
    image = torch.tensor([[[[1.0, 1.0], [2.0, -3.0]]]], dtype=torch.float64)
    network = linear(weights[None])
    found = best_order(network, image, torch.tensor([0]), grid=(2, 2), insert=insert)
    assert found.places.tolist() == [[[1, 3], [0, 2]]]

    def area(order):
        maps = torch.tensor([4.0 - order.index(pixel) for pixel in range(4)]).view(1, 1, 2, 2)
        curves = occlusion_curves(network, image, maps.double(), torch.tensor([0]), n_steps=4, insert=insert)
        return float(curves.prediction_area)

    areas = {order: area(order) for order in itertools.permutations(range(4))}
    best = (max if insert else min)(areas.values())
    assert area((2, 0, 3, 1)) == pytest.approx(best, abs=1e-12)
    assert sum(one == pytest.approx(best, abs=1e-12) for one in areas.values()) == 1


@pytest.mark.parametrize("insert", [False, True])
def test_the_curve_of_its_map_is_what_the_search_saw_and_beats_chance(insert):
    network, module, inputs = attribution.Network(tiny_model("plain")), tiny_model("plain").eval(), images()
    found = best_order(network, inputs, TARGET, grid=(3, 3), insert=insert)
    best = occlusion_curves(network, inputs, found.maps, TARGET, n_steps=9, insert=insert)
    for row in range(3):
        zero = torch.zeros_like(inputs[row])
        _, left = slow(module, inputs[row], zero, int(TARGET[row]), (3, 3), insert=insert)
        assert best.prediction[row, 1:].tolist() == pytest.approx(left, rel=1e-9)
    generator, sign = torch.Generator().manual_seed(0), -1 if insert else 1
    for _ in range(5):
        maps = random_maps(inputs, generator)
        chance = occlusion_curves(network, inputs, maps, TARGET, n_steps=9, insert=insert)
        assert bool((sign * best.prediction_area < sign * chance.prediction_area).all())


def test_the_progress_is_of_all_patches_that_are_tried():
    told = []
    found_of(grid=(2, 3), chunk_size=4, progress=lambda *done: told.append(done))
    assert told[-1] == (3 * (6 * 7 // 2 - 1),) * 2
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_equal_patches_go_from_the_upper_left():
    found = found_of(inputs=torch.zeros_like(images()), grid=(2, 2))
    assert found.places.tolist() == [[[0, 1], [2, 3]]] * 3


def test_one_patch_is_an_order():
    assert found_of(grid=(1, 1)).places.tolist() == [[[0]]] * 3


def test_images_are_independent():
    inputs = images()
    together = found_of(grid=(3, 3), baseline=noisy_linear_fill(inputs, noise=0))
    for row in range(3):
        own = inputs[row : row + 1]
        fill = noisy_linear_fill(own, noise=0)
        alone = found_of(inputs=own, target=TARGET[row : row + 1], grid=(3, 3), baseline=fill)
        assert torch.equal(alone.places[0], together.places[row])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"grid": (7, 2)}, InvalidOption, "7 patches along a side of 6 pixels"),
        ({"grid": (0, 2)}, InvalidOption, "grid is 0"),
        ({"target": torch.tensor([[0], [1], [2]])}, InvalidTarget, "one class an image"),
        ({"target": torch.tensor([0, 1, 3])}, InvalidTarget, "0 to 2"),
        ({"baseline": images()[:2]}, InvalidInput, "baseline has 2 rows"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        found_of(**{"grid": (2, 2)} | options)
