import copy

import pytest
import torch

import attribution
from attribution.errors import InvalidOption, InvalidTarget
from tests.attribution.methods.slow_multiclass_importance import definitions, matrix
from tests.attribution.methods.slow_rules import CHAINS, relevances, rescale_contributions, steps_of
from tests.attribution.tiny_models import MODELS, N_CLASSES, SHAPE, images, tiny_model

PIXELS = ("most", (1, 2, 3), "least", "nearly_zero")


def explain(module, pixels=PIXELS, inputs=None, **options):
    inputs = images() if inputs is None else inputs
    return attribution.pixel_covariation(attribution.Network(module), inputs, pixels, **options)


def check(found, rows, row, chosen=range(N_CLASSES)):
    """Against equation 2, one entry after another."""
    importance, individual = definitions(rows, chosen)
    flat = importance.flatten()
    expected = [int(flat.argmax()), (1 * 6 + 2) * 6 + 3, int(flat.argmin()), int(flat.abs().argmin())]
    centred = rows[list(chosen)].flatten(1) - rows[list(chosen)].flatten(1).mean(0)
    for number, i in enumerate(expected):
        channel, line, column = found.pixels[row, number].tolist()
        assert (channel * 6 + line) * 6 + column == i
        entries = [sum(float(one[i] * one[s]) for one in centred) for s in range(72)]
        scale = max(abs(entry) for entry in entries)
        assert float((found.covariation[row, number].flatten() - torch.tensor(entries)).abs().max()) <= 1e-5 * scale
        assert float(found.covariation[row, number].flatten()[i]) == pytest.approx(float(individual.flatten()[i]))
        assert float(found.importance[row, number]) == pytest.approx(float(flat[i]), abs=1e-6 * scale)
        others = torch.tensor(entries[:i] + entries[i + 1 :], dtype=torch.float64)
        quartiles = torch.quantile(others, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64))
        assert torch.allclose(found.five_numbers[row, number], quartiles, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("attribution_name", ["input_x_gradient", "gradient"])
@pytest.mark.parametrize("name", MODELS)
def test_equals_the_definition(name, attribution_name):
    module, inputs = tiny_model(name), images()
    found = explain(module, inputs=inputs, attribution=attribution_name)
    plain = copy.deepcopy(module).eval()
    for row in range(3):
        check(found, matrix(plain, inputs[row], attribution_name, N_CLASSES), row)


@pytest.mark.parametrize("name", ["residual", "max_pool", "smooth"])
def test_equals_the_definition_with_rules_for_layers(name):
    module, inputs, baseline = tiny_model(name), images(1), images(1, seed=5)
    steps = steps_of(CHAINS[name](module), SHAPE)
    contributions = [rescale_contributions(steps, inputs[0], baseline[0], target) for target in range(N_CLASSES)]
    check(explain(module, inputs=inputs, attribution="deeplift", baseline=baseline), torch.stack(contributions), 0)
    rows = torch.stack([relevances(steps, inputs[0], target, 0.05) for target in range(N_CLASSES)])
    check(explain(module, inputs=inputs, attribution="lrp_epsilon", epsilon=0.05), rows, 0)


def test_equals_the_definition_with_integrated_gradients_over_a_subset():
    module, inputs, baselines = tiny_model("smooth").eval(), images(1), images(2, seed=5)
    options = {"attribution": "integrated_gradients", "background": baselines, "classes": [2, 0]}
    found = explain(module, inputs=inputs, n_steps=9, quadrature="midpoint", **options)
    rows = matrix(module, inputs[0], "integrated_gradients", N_CLASSES, baselines, n_steps=9)
    check(found, rows, 0, [2, 0])


def test_rows_and_chunks_are_independent():
    module = tiny_model("residual")
    together = explain(module, chunk_size=5)
    assert together.chunk_size == 5
    for row in range(3):
        alone = explain(module, inputs=images()[row : row + 1], chunk_size=1)
        assert torch.allclose(together.covariation[row], alone.covariation[0], rtol=1e-9)
        assert torch.equal(together.pixels[row], alone.pixels[0])


def test_memory_layout_makes_no_difference():
    module, inputs = tiny_model("residual"), images()
    expected, found = explain(module), explain(module, inputs=inputs.to(memory_format=torch.channels_last))
    assert torch.allclose(found.covariation, expected.covariation, rtol=1e-9)
    assert torch.equal(found.pixels, expected.pixels)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ([], "at least one"),
        ("most", "sequence"),
        (["best"], "expected one of most"),
        ([(0, 1)], "channel, row, column"),
        ([(0, 0, 6)], "below"),
        ([(-1, 0, 0)], "below"),
        ([(0, 0, 1.0)], "below"),
    ],
)
def test_pixels_that_are_not_there(pixels, message):
    with pytest.raises(InvalidOption, match=message):
        explain(tiny_model("plain"), pixels)


def test_options_that_do_not_fit():
    with pytest.raises(InvalidOption, match="not linear"):
        explain(tiny_model("plain"), attribution="saliency")
    with pytest.raises(InvalidTarget, match="at least two"):
        explain(tiny_model("plain"), classes=[1])
