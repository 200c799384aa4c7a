import copy

import pytest
import torch
from torch import nn

import attribution
from attribution.errors import Cancelled, OutOfMemory
from tests.attribution.methods.slow_integrated_gradients import bisected, riemann, value
from tests.attribution.tiny_models import DTYPES, MODELS, N_CLASSES, SHAPE, hungry, images, tiny_model

TARGET = torch.tensor([0, 2, 1])
RULES = ("gauss_legendre", "trapezoid", "midpoint", "right")


def explain(module, inputs=None, target=TARGET, **options):
    inputs = images() if inputs is None else inputs
    options.setdefault("baseline", torch.zeros_like(inputs[:1]))
    return attribution.integrated_gradients(attribution.Network(module), inputs, target, **options)


def assert_equal(found, expected, tolerance=1e-5):
    """Within a share of the largest value."""
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


class Formula(nn.Module):
    """Logits ``a . x + x . Q x`` of each class, with known integrals."""

    def __init__(self, linear, quadratic):
        super().__init__()
        self.linear, self.quadratic = linear, quadratic

    def forward(self, x):
        x = x.flatten(1)
        return x @ self.linear.T + torch.einsum("ni,kij,nj->nk", x, self.quadratic, x)


def formula(quadratic=1.0):
    generator = torch.Generator().manual_seed(3)
    linear, square = (torch.randn(*size, generator=generator, dtype=torch.float64) for size in ((3, 72), (3, 72, 72)))
    return Formula(linear, quadratic * square)


# Against the slow reference, closed forms and the peer.


@pytest.mark.parametrize("quadrature", ["trapezoid", "midpoint", "right"])
@pytest.mark.parametrize("name", MODELS)
def test_equals_the_definition(name, quadrature):
    module, inputs, baseline = tiny_model(name), images(), images(seed=5)
    found = explain(module, inputs, baseline=baseline, n_steps=7, quadrature=quadrature)
    plain = copy.deepcopy(module).eval()
    for row in range(3):
        expected, delta = riemann(plain, inputs[row], baseline[row], int(TARGET[row]), 7, quadrature)
        assert_equal(found.attributions[row], expected)
        assert float(found.convergence_delta[row]) == pytest.approx(delta, rel=1e-5, abs=1e-9)
    assert found.n_steps.tolist() == [7, 7, 7]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("gauss_legendre", "gausslegendre"), ("midpoint", "riemann_middle"), ("right", "riemann_right")],
)
@pytest.mark.parametrize("name", MODELS)
def test_equals_captum(name, ours, theirs):
    peer = pytest.importorskip("captum.attr")
    module, inputs, baseline = tiny_model(name), images(), images(1, seed=5)
    found = explain(module, inputs, baseline=baseline, n_steps=9, quadrature=ours)
    plain = copy.deepcopy(module).eval()
    # A copy each, for in-place first layers overwrite what Captum hands them.
    expected, delta = peer.IntegratedGradients(lambda points: plain(points.clone())).attribute(
        inputs, baseline.expand_as(inputs), TARGET, n_steps=9, method=theirs, return_convergence_delta=True
    )
    assert_equal(found.attributions, expected)
    # Captum rounds its weights to float32.
    torch.testing.assert_close(found.convergence_delta, delta, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("quadrature", RULES)
def test_is_exact_on_linear_functions(quadrature):
    module, baseline = formula(quadratic=0.0), images(seed=5)
    found = explain(module, baseline=baseline, n_steps=2, quadrature=quadrature)
    expected = module.linear[TARGET] * (images() - baseline).flatten(1)
    assert_equal(found.attributions.flatten(1), expected, 1e-12)
    assert found.convergence_delta.abs().max() < 1e-9


@pytest.mark.parametrize("quadrature", ["gauss_legendre", "trapezoid", "midpoint"])
def test_is_exact_on_quadratic_functions(quadrature):
    module, baseline = formula(), images(seed=5)
    found = explain(module, baseline=baseline, n_steps=2, quadrature=quadrature)
    # The gradient a + (Q + Q^T) x is linear along the path, so its mean is that at the middle.
    square = (module.quadratic + module.quadratic.transpose(1, 2))[TARGET]
    middle = (images() + baseline).flatten(1) / 2
    slope = module.linear[TARGET] + torch.einsum("nij,nj->ni", square, middle)
    assert_equal(found.attributions.flatten(1), slope * (images() - baseline).flatten(1), 1e-12)
    assert found.convergence_delta.abs().max() < 1e-9


@pytest.mark.parametrize(("quadrature", "order"), [("trapezoid", 2), ("midpoint", 2), ("right", 1)])
def test_converges_with_its_order_on_a_smooth_network(quadrature, order):
    module = tiny_model("smooth")
    exact = explain(module, n_steps=200).attributions
    errors = []
    for intervals in (32, 64):
        n_steps = intervals + (quadrature == "trapezoid")
        found = explain(module, n_steps=n_steps, quadrature=quadrature).attributions
        errors.append(float((found - exact).norm()))
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.1)


def test_gauss_legendre_converges_faster_than_any_power_on_a_smooth_network():
    deltas = [explain(tiny_model("smooth"), n_steps=n).convergence_delta.abs().max() for n in (4, 8, 32)]
    assert deltas[1] < deltas[0] / 16
    assert deltas[2] < 1e-9


# Axioms.


@pytest.mark.parametrize("name", MODELS)
def test_completeness(name):
    found = explain(tiny_model(name), n_steps=600, quadrature="midpoint")
    scale = found.attributions.abs().flatten(1).sum(1)
    assert (found.convergence_delta.abs() <= 2e-3 * scale).all()


def test_a_value_that_is_not_read_gets_nothing():
    module = tiny_model("plain")
    with torch.no_grad():
        module[0].weight[:, 1] = 0
    assert explain(module, n_steps=5).attributions[:, 1].abs().max() == 0


def test_linearity():
    class Sum(nn.Module):
        def __init__(self, first, second):
            super().__init__()
            self.first, self.second = first, second

        def forward(self, x):
            return 2 * self.first(x) - 3 * self.second(x)

    first, second = tiny_model("plain", seed=1), tiny_model("residual", seed=2)
    parts = [explain(module, n_steps=5).attributions for module in (first, second)]
    assert_equal(explain(Sum(first, second), n_steps=5).attributions, 2 * parts[0] - 3 * parts[1], 1e-10)


def test_implementation_invariance():
    module = tiny_model("batch_norm")
    folded = torch.nn.utils.fuse_conv_bn_eval(copy.deepcopy(module[0]).eval(), copy.deepcopy(module[1]).eval())
    other = nn.Sequential(folded, module[2], module[3])
    assert_equal(explain(other, n_steps=5).attributions, explain(module, n_steps=5).attributions, 1e-10)


def test_symmetry():
    """Values that the function cannot tell apart, equal in image and baseline, get the same."""
    module = formula()
    module.linear[:, 1], module.quadratic[:, 1] = module.linear[:, 0], module.quadratic[:, 0]
    module.quadratic[:, :, 1] = module.quadratic[:, :, 0]
    inputs = images()
    inputs.flatten(1)[:, 1] = inputs.flatten(1)[:, 0]
    found = explain(module, inputs, n_steps=5).attributions.flatten(1)
    torch.testing.assert_close(found[:, 0], found[:, 1])


# Options.


@pytest.mark.parametrize("options", [{"n_steps": 6}, {"tolerance": 0.05}])
def test_several_targets_equal_one_after_the_other(options):
    target = torch.stack([TARGET, (TARGET + 1) % N_CLASSES], dim=1)
    module = tiny_model("residual")
    found = explain(module, target=target, **options)
    assert found.attributions.shape == (3, 2, *SHAPE)
    assert found.convergence_delta.shape == found.absolute_gap.shape == (3, 2)
    if "n_steps" in options:
        single = explain(module, target=target[:, 1], **options)
        assert_equal(found.attributions[:, 1], single.attributions)
        torch.testing.assert_close(found.convergence_delta[:, 1], single.convergence_delta)


def test_several_targets_share_the_forward_passes():
    network, points = attribution.Network(tiny_model("plain"), SHAPE), []
    network.graph.get_submodule("0").register_forward_pre_hook(lambda _, given: points.append(len(given[0])))
    target = torch.tensor([[0, 1, 2]])
    attribution.integrated_gradients(network, images(1), target, baseline=images(1), n_steps=6, quadrature="trapezoid")
    assert sum(points) == 6


@pytest.mark.parametrize("options", [{"n_steps": 6}, {"n_steps": 6, "quadrature": "trapezoid"}, {"tolerance": 1e-3}])
def test_baselines_are_averaged(options):
    module, background = tiny_model("smooth"), images(4, seed=5)
    averaged = explain(module, baseline=None, background=background, **options)
    sequence = explain(module, baseline=list(background.split(1)), **options)
    assert torch.equal(averaged.attributions, sequence.attributions)
    alone = [explain(module, baseline=one, **options) for one in background.split(1)]
    tolerance = 1e-5 if "n_steps" in options else 1e-2
    assert_equal(averaged.attributions, sum(one.attributions for one in alone) / 4, tolerance)
    if "n_steps" in options:
        expected = sum(one.convergence_delta for one in alone) / 4
        torch.testing.assert_close(averaged.convergence_delta, expected)
        assert averaged.n_steps.tolist() == [24, 24, 24]


@pytest.mark.parametrize("output", ["probability", "log_probability"])
def test_other_outputs_are_explained_in_their_unit(output):
    network = attribution.Network(tiny_model("smooth"), output=output)
    baseline = images(1, seed=5)
    found = attribution.integrated_gradients(network, images(), TARGET, baseline=baseline, n_steps=40)
    change = (network(images()) - network(baseline)).gather(1, TARGET[:, None])[:, 0]
    torch.testing.assert_close(found.attributions.flatten(1).sum(1), change, atol=1e-6, rtol=1e-6)


def test_noise_averages_around_the_smoothed_attribution():
    """On a quadratic function the smoothed attribution is known; the deviation is measured in standard errors."""
    module = formula()
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    smooth = attribution.Smooth(generators, n_samples=200, noise=0.3)
    found = explain(module, n_steps=1, quadrature="midpoint", smooth=smooth)
    square = (module.quadratic + module.quadratic.transpose(1, 2))[TARGET]
    # E[(x + e) * S (x + e) / 2] = x * S x / 2 + noise^2 diag(S) / 2, with the baseline 0.
    exact = explain(module, n_steps=1, quadrature="midpoint").attributions.flatten(1)
    exact = exact + 0.3**2 * square.diagonal(dim1=1, dim2=2) / 2
    deviations = (found.attributions.flatten(1) - exact) / found.standard_error.flatten(1)
    # 216 standardised means: the largest is below 4.5 but once in 700 seeds, their mean square near 1.
    assert deviations.abs().max() < 4.5
    assert 0.5 < float(deviations.square().mean()) < 1.8
    assert found.n_steps.tolist() == [200, 200, 200]


@pytest.mark.parametrize("kind", ["squaregrad", "vargrad"])
def test_squares_and_variances_are_those_of_the_maps_of_the_copies(kind):
    module, inputs, n = tiny_model("residual"), images(), 5
    found = explain(
        module, n_steps=4, smooth=attribution.Smooth(torch.Generator().manual_seed(0), kind, n_samples=n, noise=0.3)
    )
    generator = torch.Generator().manual_seed(0)
    copies = [inputs + 0.3 * torch.randn(inputs.shape, generator=generator, dtype=torch.float64) for _ in range(n)]
    maps = torch.stack([explain(module, one, n_steps=4).attributions for one in copies])
    expected = maps.square().mean(0) if kind == "squaregrad" else maps.var(0)
    torch.testing.assert_close(found.attributions, expected)
    assert found.n_draws == n
    if kind == "squaregrad":
        torch.testing.assert_close(found.standard_error, maps.square().std(0) / n**0.5, rtol=1e-6, atol=1e-9)


def test_noise_is_reproducible_and_each_rows_own():
    def run(rows, options=()):
        generators = [torch.Generator().manual_seed(row) for row in rows]
        return explain(
            tiny_model("plain"),
            images()[rows],
            TARGET[rows],
            smooth=attribution.Smooth(generators, n_samples=3, noise=0.1),
            **{"n_steps": 4, **dict(options)},
        )

    together = run([0, 1, 2])
    assert torch.equal(together.attributions, run([0, 1, 2]).attributions)
    assert_equal(run([2]).attributions, together.attributions[2:])
    assert_equal(run([2], {"n_steps": None, "tolerance": 0.1}).attributions, together.attributions[2:], 0.5)
    assert explain(tiny_model("plain"), n_steps=2).standard_error is None


# Rows, chunks, memory, state.


@pytest.mark.parametrize("options", [{"n_steps": 10}, {"tolerance": 0.02}, {"n_steps": 5, "quadrature": "trapezoid"}])
@pytest.mark.parametrize("name", MODELS)
def test_rows_do_not_depend_on_batch_or_chunk(name, options):
    module = tiny_model(name)
    together = explain(module, chunk_size=7, **options)
    assert torch.equal(together.attributions, explain(module, chunk_size=7, **options).attributions)
    for row in range(3):
        alone = explain(module, images()[row : row + 1], TARGET[row : row + 1], chunk_size=64, **options)
        assert_equal(alone.attributions[0], together.attributions[row])
        assert alone.n_steps[0] == together.n_steps[row]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_other_dtypes_agree_with_float64(name, dtype):
    # Weights and images that both dtypes hold exactly, so that only the arithmetic differs.
    module, inputs = tiny_model(name).to(dtype), images().to(dtype)
    found = explain(module, inputs, n_steps=16)
    expected = explain(copy.deepcopy(module).double(), inputs.double(), n_steps=16)
    assert found.attributions.dtype == dtype
    difference = (found.attributions.double() - expected.attributions).norm() / expected.attributions.norm()
    assert difference < DTYPES[dtype] * 4


@pytest.mark.parametrize("options", [{"n_steps": 4}, {"tolerance": 0.1}])
def test_works_in_inference_mode_and_keeps_inputs(options):
    module, inputs = tiny_model("in_place_first"), images()
    expected = explain(module, **options)
    with torch.inference_mode():
        found = explain(module, inputs.clone(), **options)
    assert torch.equal(found.attributions, expected.attributions)
    explain(module, inputs, **options)
    assert torch.equal(inputs, images())
    assert not found.attributions.requires_grad


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("[enforce fail] can't allocate memory: 12 bytes")],
)
@pytest.mark.parametrize("options", [{"n_steps": 9}, {"tolerance": 0.02}])
def test_out_of_memory_halves_the_chunk_and_changes_nothing(options, error):
    found = explain(hungry(tiny_model("plain"), [3], error), chunk_size=16, **options)
    assert found.chunk_size <= 3
    assert_equal(found.attributions, explain(tiny_model("plain"), **options).attributions, 1e-10)


@pytest.mark.parametrize("options", [{"n_steps": 9}, {"tolerance": 0.02}])
def test_out_of_memory_for_a_single_point(options):
    most = [1]
    network = attribution.Network(hungry(tiny_model("plain"), most, MemoryError()), SHAPE)
    most[0] = 0
    with pytest.raises(OutOfMemory, match="one point"):
        attribution.integrated_gradients(network, images(), TARGET, baseline=images(1), **options)


@pytest.mark.parametrize("options", [{"n_steps": 6}, {"n_steps": 6, "quadrature": "trapezoid"}, {"tolerance": 0.05}])
def test_progress_rises_to_its_total(options):
    told = []
    generator = torch.Generator().manual_seed(0)
    noise = {"smooth": attribution.Smooth(generator, n_samples=2, noise=0.1)}
    explain(tiny_model("plain"), chunk_size=4, progress=lambda *told_now: told.append(told_now), **noise, **options)
    assert len({total for _, total in told}) == 1
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]


@pytest.mark.parametrize("options", [{"n_steps": 6}, {"tolerance": 0.05}])
def test_cancelling_leaves_no_trace(options):
    module = tiny_model("residual")
    network = attribution.Network(module)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    def cancel(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        attribution.integrated_gradients(
            network, images(), TARGET, baseline=images(1), chunk_size=2, progress=cancel, **options
        )
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert all(part.training and not part._forward_hooks for part in module.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in module.parameters())


# To a tolerance.


@pytest.mark.parametrize("name", MODELS)
def test_stops_at_the_tolerance_with_true_gaps(name):
    module, inputs, baseline = tiny_model(name), images(), images(seed=5)
    found = explain(module, inputs, baseline=baseline, tolerance=0.01, gap_tolerance=0.1, atol=0.0, max_steps=2000)
    plain = copy.deepcopy(module).eval()
    for row in range(3):
        change = value(plain, inputs[row], TARGET[row]) - value(plain, baseline[row], TARGET[row])
        assert abs(float(found.convergence_delta[row])) <= 0.01 * abs(change) + 1e-12
        assert float(found.absolute_gap[row]) <= 0.1 * abs(change) + 1e-12
        total = float(found.attributions[row].sum())
        assert total - change == pytest.approx(float(found.convergence_delta[row]), abs=1e-9)


def test_equals_bisection_by_hand():
    """One image, one split at a time is not what runs, so the places are taken from the evaluated points."""
    module, inputs, baseline = tiny_model("residual"), images(1), images(1, seed=5)
    network, places = attribution.Network(module), []
    network(inputs)
    forward = network.graph.forward

    def noting(points):
        span = (inputs - baseline).flatten()
        places.extend((((points - baseline).flatten(1) @ span) / (span @ span)).tolist())
        return forward(points)

    network.graph.forward = noting
    found = attribution.integrated_gradients(network, inputs, torch.tensor([1]), baseline=baseline, tolerance=0.003)
    assert len(places) == len({round(place, 9) for place in places}) == int(found.n_steps[0])
    plain = copy.deepcopy(module).eval()
    expected, net, absolute = bisected(plain, inputs[0], baseline[0], 1, sorted(places))
    assert_equal(found.attributions[0], expected)
    assert float(found.convergence_delta[0]) == pytest.approx(net, abs=1e-9)
    assert float(found.absolute_gap[0]) == pytest.approx(absolute, abs=1e-9)


def test_the_cap_is_kept_and_the_gaps_say_so():
    found = explain(tiny_model("residual"), tolerance=1e-9, gap_tolerance=1e-9, atol=0.0, max_steps=11)
    assert found.n_steps.tolist() == [11, 11, 11]
    background = explain(
        tiny_model("residual"), baseline=None, background=images(2), tolerance=1e-9, atol=0.0, max_steps=11
    )
    assert background.n_steps.tolist() == [22, 22, 22]
    assert (background.absolute_gap > 0).all()


def test_an_image_that_is_its_baseline_takes_the_first_grid_and_gets_nothing():
    found = explain(tiny_model("plain"), baseline=images(), tolerance=0.01)
    assert found.attributions.abs().max() == 0
    assert found.n_steps.tolist() == [5, 5, 5]


def test_finds_a_narrow_change_that_an_even_grid_misses():
    class Step(nn.Module):
        def forward(self, x):
            t = x.flatten(1).mean(1, keepdim=True)
            return torch.cat([t, 10 * torch.sigmoid(200 * (t - 0.7))], dim=1)

    inputs, target = torch.ones(1, *SHAPE, dtype=torch.float64), torch.tensor([1])
    found = explain(Step(), inputs, target, tolerance=0.01)
    even = explain(Step(), inputs, target, n_steps=int(found.n_steps[0]), quadrature="trapezoid")
    assert abs(float(found.convergence_delta)) < 0.1 < abs(float(even.convergence_delta))
