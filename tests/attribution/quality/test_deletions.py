"""Single deletions against one patch after another, and both coefficients against what their papers say."""

import copy
import math

import pytest
import torch
from scipy import stats
from torch import nn

import attribution
from attribution.errors import InvalidInput, InvalidOption, InvalidTarget, NetworkError
from attribution.quality.deletions import noise_maps, patch_falls, patch_sums, rank_correlation, saco
from attribution.quality.occlusion import input_x_gradient_maps
from tests.attribution.tiny_models import MODELS, N_CLASSES, SHAPE, images, tiny_model

TARGET = torch.tensor([[0, 1], [2, 0], [1, 2]])
GRID = (2, 4)
"""Of 6 x 6 pixels: columns of 1, 2, 1 and 2."""


def falls_of(name="plain", inputs=None, target=TARGET, output="logit", grid=GRID, **options):
    network = attribution.Network(tiny_model(name), output=output)
    return patch_falls(network, images() if inputs is None else inputs, target, grid=grid, **options)


def slow_falls(module, image, fill, number):
    """One patch after another; of the number that is explained."""
    with torch.no_grad():
        whole = float(number(module(image.clone().unsqueeze(0))[0]))
        found = []
        for top, bottom in ((0, 3), (3, 6)):
            for left, right in ((0, 1), (1, 3), (3, 4), (4, 6)):
                changed = image.clone()
                changed[:, top:bottom, left:right] = fill[:, top:bottom, left:right]
                found.append(whole - float(number(module(changed.unsqueeze(0))[0])))
    return torch.tensor(found, dtype=torch.float64).view(2, 4), whole


@pytest.mark.parametrize("name", MODELS)
def test_equals_one_patch_after_another(name):
    fill = images(seed=5)
    found = falls_of(name, baseline=fill, chunk_size=5)
    module = copy.deepcopy(tiny_model(name)).eval()
    for row in range(3):
        for place, target in enumerate(TARGET[row].tolist()):
            expected, whole = slow_falls(module, images()[row], fill[row], lambda logits, at=target: logits[at])
            assert torch.allclose(found.falls[row, place], expected, rtol=1e-9, atol=1e-12)
            assert float(found.outputs[row, place]) == pytest.approx(whole)


@pytest.mark.parametrize("output", ["probability", "log_probability"])
def test_follows_what_is_explained(output):
    found = falls_of(output=output, baseline=images(seed=5))
    unit = {"probability": lambda logits: logits.softmax(0), "log_probability": lambda logits: logits.log_softmax(0)}
    module, fill = tiny_model("plain").eval(), images(seed=5)
    for row in range(3):
        number = lambda logits, at=int(TARGET[row, 1]): unit[output](logits)[at]  # noqa: E731
        expected, _ = slow_falls(module, images()[row], fill[row], number)
        assert torch.allclose(found.falls[row, 1], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_one_class_against_another_falls_by_the_difference(weighted):
    others = torch.tensor([[2, 2], [1, 1], [0, 0]])
    against = nn.functional.one_hot(others, N_CLASSES).double() if weighted else others
    held = falls_of(against=against).falls
    apart = falls_of().falls - falls_of(target=others).falls
    assert torch.allclose(held, apart, atol=1e-6)


def test_one_set_of_passes_serves_all_classes():
    network, seen = attribution.Network(tiny_model("plain")), []
    images_, target = images(), torch.tensor([[0, 1, 2]] * 3)
    falls_of()  # meets the network's inputs
    network.class_count(images_)
    counted = nn.modules.module.register_module_forward_hook(
        lambda module, _, output: seen.append(len(output)) if isinstance(module, nn.Linear) else None
    )
    patch_falls(network, images_, target, grid=GRID)
    counted.remove()
    assert sum(seen) == 3 * (2 * 4 + 1)


def linear_network():
    module = nn.Sequential(nn.Flatten(), nn.Linear(72, N_CLASSES)).double()
    with torch.no_grad():
        module[1].weight.copy_(torch.randn(N_CLASSES, 72, generator=torch.Generator().manual_seed(3)).double())
    return attribution.Network(module, SHAPE)


@pytest.mark.parametrize("grid", [(2, 3), (3, 3), (4, 4), (6, 6)])
def test_of_a_linear_network_input_x_gradient_says_all(grid):
    network, inputs, target = linear_network(), images().double(), torch.tensor([0, 2, 1])
    maps = input_x_gradient_maps(network, inputs, target)
    falls = patch_falls(network, inputs, target, grid=grid).falls[:, 0]
    sums = patch_sums(maps, inputs, grid)
    assert torch.allclose(sums, falls, atol=1e-9)
    for figure in (rank_correlation, saco):
        assert figure(sums, falls).tolist() == pytest.approx([1.0] * 3, abs=1e-12)
        assert figure(-sums, falls).tolist() == pytest.approx([-1.0] * 3, abs=1e-12)


def test_a_patch_that_the_baseline_does_not_change_takes_exactly_nothing():
    inputs = images().float()
    inputs[:, :, :3, :1] = 0
    network = attribution.Network(tiny_model("residual").float())
    for chunk_size in (1, 4, None):
        falls = patch_falls(network, inputs, TARGET, grid=GRID, chunk_size=chunk_size).falls
        assert falls[:, :, 0, 0].tolist() == [[0.0, 0.0]] * 3
        assert bool((falls.flatten(2)[..., 1:] != 0).all())


def test_rows_and_chunks_are_independent():
    whole = falls_of().falls
    for row in range(3):
        alone = falls_of(inputs=images()[row : row + 1], target=TARGET[row : row + 1], chunk_size=2).falls
        assert torch.allclose(alone[0], whole[row], rtol=1e-9, atol=1e-12)


def test_nothing_is_left_behind():
    module = tiny_model("residual")
    before = {name: value.clone() for name, value in module.state_dict().items()}
    network = attribution.Network(module)

    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        patch_falls(network, images(), TARGET, grid=GRID, chunk_size=2, progress=cancel)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.module.modules())


def test_progress_counts_the_points():
    told = []
    falls_of(chunk_size=20, progress=lambda done, total: told.append((done, total)))
    assert told == [(20, 27), (27, 27)]


def test_sums_are_of_the_pixels_of_a_patch():
    maps = images(seed=7)
    found = patch_sums(maps, images(), GRID)
    by_hand = [
        float(maps[1, :, top : top + 3, left:right].sum())
        for top in (0, 3)
        for left, right in ((0, 1), (1, 3), (3, 4), (4, 6))
    ]
    assert found[1].flatten().tolist() == pytest.approx(by_hand)
    assert torch.allclose(patch_sums(maps.sum(1, keepdim=True), images(), GRID), found)


def slow_saco(salience, falls):
    """Algorithm 1 of the paper: groups in falling order of salience."""
    groups = sorted(zip(salience, falls, strict=True), key=lambda group: -group[0])
    total = weights = 0.0
    for i in range(len(groups) - 1):
        for j in range(i + 1, len(groups)):
            weight = groups[i][0] - groups[j][0]
            if groups[i][1] < groups[j][1]:
                weight = -weight
            total += weight
            weights += abs(weight)
    return total / weights


TIED = torch.tensor([0.0, 0.0, 1.0, 2.0, 2.0, 2.0, -1.0, 5.0, 0.5], dtype=torch.float64)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_both_coefficients_equal_their_definitions(seed, tied):
    generator = torch.Generator().manual_seed(seed)
    sums, falls = torch.randn(2, 5, 3, 3, generator=generator, dtype=torch.float64)
    if tied:
        falls = TIED[torch.rand(5, 9, generator=generator).argsort(1)].view(5, 3, 3)
        sums = sums.round()
    ranks, pairs = rank_correlation(sums, falls), saco(sums, falls)
    for row in range(5):
        own, other = sums[row].flatten().tolist(), falls[row].flatten().tolist()
        assert float(ranks[row]) == pytest.approx(stats.spearmanr(own, other).statistic, abs=1e-12)
        assert float(pairs[row]) == pytest.approx(slow_saco(own, other), abs=1e-12)


def test_where_nothing_differs_there_is_nothing_to_tell():
    level, some = torch.ones(1, 2, 2), torch.arange(4.0).view(1, 2, 2)
    for sums, falls in ((level, some), (some, level), (level, level)):
        assert rank_correlation(sums, falls).isnan().all()
        assert saco(sums, falls).isnan().all()


@pytest.fixture(scope="module")
def judged():
    """Sums and falls of 24 images by a network that is not linear, and what they agree by."""
    inputs, grid = images(24, seed=2), (3, 3)
    network = attribution.Network(tiny_model("residual"))
    target = network(inputs).argmax(1).detach()
    falls = patch_falls(network, inputs, target, grid=grid).falls[:, 0]
    maps = attribution.integrated_gradients(network, inputs, target, baseline=torch.zeros_like(inputs)).attributions
    return inputs, grid, maps, falls


@pytest.mark.parametrize("figure", [rank_correlation, saco])
def test_small_noise_in_a_map_moves_it_little_and_a_random_map_lowers_it(judged, figure):
    inputs, grid, maps, falls = judged
    found = figure(patch_sums(maps, inputs, grid), falls)
    noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(0), dtype=maps.dtype)
    moved = figure(patch_sums(maps + 0.01 * maps.std() * noise, inputs, grid), falls)
    assert float((moved - found).abs().mean()) < 0.05
    generator = torch.Generator().manual_seed(1)
    random = torch.stack([figure(patch_sums(noise_maps(inputs, generator), inputs, grid), falls) for _ in range(20)])
    assert float((random.mean(0) < found).double().mean()) >= 0.95
    # 20 maps of 24 images: the mean of random maps is 0 but for its standard error.
    assert abs(float(random.mean())) < 4 * float(random.std()) / math.sqrt(random.numel()) + 0.01


def test_random_maps_do_not_follow_the_sizes_of_patches():
    inputs, grid = torch.zeros(1, 1, 9, 9), (2, 2)
    generator = torch.Generator().manual_seed(0)
    sizes = patch_sums(torch.ones(1, 1, 9, 9), inputs, grid)
    many = torch.stack(
        [rank_correlation(patch_sums(noise_maps(inputs, generator), inputs, grid), sizes)[0] for _ in range(400)]
    )
    assert abs(float(many.mean())) < 4 * float(many.std()) / 20


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": torch.tensor([0, 1])}, InvalidTarget, "batch of 3"),
        ({"target": torch.tensor([0, 1, 3])}, InvalidTarget, "0 to 2"),
        ({"baseline": images()[:2]}, InvalidInput, "baseline has 2 rows"),
        ({"grid": (7, 2)}, InvalidOption, "7 patches along a side of 6 pixels"),
        ({"grid": (0, 2)}, InvalidOption, "grid is 0"),
        ({"inputs": torch.full_like(images(), math.nan)}, InvalidInput, "NaN"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        falls_of(**options)


class Logarithm(nn.Module):
    """Without any pixel its outputs are infinite."""

    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(72, N_CLASSES))

    def forward(self, x):
        return self.head(x) + x.abs().sum((1, 2, 3)).log().unsqueeze(1)


def test_outputs_that_are_not_finite_are_told():
    network = attribution.Network(Logarithm().double(), SHAPE)
    with pytest.raises(NetworkError, match="outputs with a patch replaced"):
        patch_falls(network, images(), TARGET, grid=(1, 1))


@pytest.mark.parametrize(
    ("maps", "message"),
    [(images()[:2], "maps has shape"), (images()[..., :5], "maps has shape"), (images() / 0, "NaN")],
)
def test_maps_of_other_images_are_refused(maps, message):
    with pytest.raises(InvalidInput, match=message):
        patch_sums(maps, images(), GRID)


@pytest.mark.parametrize("figure", [rank_correlation, saco])
def test_figures_are_of_one_shape(figure):
    with pytest.raises(InvalidInput, match=r"expected the same \(\.\.\., rows, columns\)"):
        figure(torch.zeros(1, 2, 2), torch.zeros(1, 2, 3))
