import math

import pytest
import torch

import attribution
from attribution import Smooth
from attribution.errors import AttributionError, InvalidInput, InvalidOption, InvalidTarget
from tests.attribution.tiny_models import images, tiny_model

TARGET = torch.tensor([0, 2, 1])
GENERATOR = torch.Generator()


def explain(inputs=None, target=TARGET, **options):
    inputs = images() if inputs is None else inputs
    if "background" not in options:
        options.setdefault("baseline", torch.zeros_like(images(1)))
    return attribution.integrated_gradients(attribution.Network(tiny_model("plain")), inputs, target, **options)


@pytest.mark.parametrize("n_steps", [0, -1, 10**9, math.nan, math.inf, 5.0, True, "5"])
def test_steps_out_of_range(n_steps):
    with pytest.raises(InvalidOption, match="n_steps"):
        explain(n_steps=n_steps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_steps": 1, "quadrature": "trapezoid"}, "at least 2"),
        ({"quadrature": "simpson"}, "expected one of gauss_legendre"),
        ({"tolerance": 0.01, "n_steps": 5}, "chooses its own points"),
        ({"tolerance": 0.01, "quadrature": "right"}, "chooses its own points"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"tolerance": -1}, "tolerance"),
        ({"tolerance": math.nan}, "finite"),
        ({"tolerance": 0.01, "atol": -1.0}, "atol"),
        ({"tolerance": 0.01, "gap_tolerance": math.inf}, "gap_tolerance"),
        ({"tolerance": 0.01, "max_steps": 4}, "expected 5"),
        ({"tolerance": 0.01, "max_steps": 10**9}, "max_steps"),
        ({"smooth": Smooth(GENERATOR, n_samples=0)}, "smooth.n_samples is 0"),
        ({"smooth": Smooth(GENERATOR, "vargrad", n_samples=1)}, "smooth.n_samples is 1, expected 2"),
        ({"smooth": Smooth(GENERATOR, noise=0.0)}, "smooth.noise is 0"),
        ({"smooth": Smooth(GENERATOR, noise=math.nan)}, "smooth.noise"),
        ({"smooth": Smooth(GENERATOR, "mean")}, "smooth.kind is 'mean'"),
        ({"chunk_size": 0}, "chunk_size"),
    ],
)
def test_options_out_of_range_or_at_odds(options, message):
    with pytest.raises(InvalidOption, match=message):
        explain(**options)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([0, 1]), r"shape \(2,\) for a batch of 3"),
        (torch.tensor([0, 1, 2, 0]), "one row of classes"),
        (torch.tensor(0), "expected"),
        (torch.zeros(3, 0, dtype=torch.int64), "expected"),
        (torch.zeros(3, 1, 1, dtype=torch.int64), "expected"),
        (TARGET.int(), "torch.int64"),
        (TARGET.float(), "torch.int64"),
        ([0, 2, 1], "list"),
        (TARGET - 1, "contains -1"),
        (TARGET + 1, "contains 3, the network has the classes 0 to 2"),
    ],
)
def test_targets_that_do_not_fit(target, message):
    with pytest.raises(InvalidTarget, match=message):
        explain(target=target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": images()[0]}, "unsqueeze"),
        ({"inputs": images().float()}, "float32"),
        ({"inputs": images() / 0}, "NaN or infinity"),
        ({"baseline": None}, "either baseline"),
        ({"baseline": images(1), "background": images(2)}, "either baseline"),
        ({"baseline": images(2)}, "has 2 rows for a batch of 3"),
        ({"baseline": images(1)[:, :1]}, "like the inputs"),
        ({"baseline": []}, "empty sequence"),
        ({"baseline": [images(1), images(1) * math.nan]}, "baseline contains NaN"),
        ({"background": images(2).float()}, "background is torch.float32"),
        ({"background": images(2)[..., :3]}, "background has shape"),
        ({"smooth": Smooth([torch.Generator()])}, "1 generators for 3 images"),
    ],
)
def test_inputs_and_baselines_that_do_not_fit(options, message):
    with pytest.raises(InvalidInput, match=message):
        explain(**options)


def test_everything_raised_is_the_engines_and_a_value_error():
    for error in (InvalidInput, InvalidOption, InvalidTarget):
        assert issubclass(error, AttributionError)
        assert issubclass(error, ValueError)
