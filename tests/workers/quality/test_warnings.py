"""What speaks against a result is said with it, and nothing where nothing does."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import attribution
from attribution.errors import NetworkError
from attribution_contracts.models import Preprocessing
from attribution_contracts.quality import OcclusionOptions
from attribution_contracts.states import JobStatus
from attribution_contracts.warnings import WARNING_TITLES, WarningCode
from service.description.problem_texts import WARNING_TEXTS
from tests.workers.rows import warned

SIDE = 8
SEEN = Preprocessing(color="grey", size=(SIDE, SIDE), mean=[0.0], std=[1.0])
CURVES = OcclusionOptions(n_steps=8)


def pictures(count=2):
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


class Bent(nn.Module):
    """A line of the image's mean, bent by a function."""

    def __init__(self, function, offset=0.0):
        super().__init__()
        self.function, self.offset = function, offset
        self.slope = nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward(self, x):
        return self.function(x.mean((1, 2, 3))).unsqueeze(1) * self.slope + self.offset * self.slope


class Padded(nn.Module):
    """Pads with -inf before the largest of each window is taken."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(3, 2), nn.Linear(64, 3)

    def forward(self, x):
        padded = functional.pad(self.conv(x), (0, 1, 0, 1), value=-torch.inf)
        return self.head(self.pool(padded).flatten(1))


def network(module):
    return attribution.Network(module, (1, SIDE, SIDE))


def codes(found):
    return [[warning.code for warning in of_image] for of_image in found]


class TestCompleteness:
    def test_a_large_error_and_what_to_do(self):
        steep = network(Bent(lambda mean: torch.sigmoid(200 * (mean - 0.3))))
        for of_image in warned(steep, pictures(), SEEN, "integrated_gradients", n_steps=3):
            [warning] = of_image
            assert (warning.code, warning.target) == (WarningCode.COMPLETENESS_LARGE, 0)
            assert "% of the output's change that it should add up to" in warning.detail
            assert "ask for a tolerance, or raise n_steps" in warning.advice

    def test_of_several_layers_it_says_which(self):
        steep = network(Bent(lambda mean: torch.sigmoid(200 * (mean - 0.3))))
        for [warning] in warned(steep, pictures(), SEEN, "layer_shapley", layers="all", n_steps=3):
            assert warning.detail.startswith(("the map of layer input misses ", "the map of layer mean misses "))

    def test_a_tolerance_that_was_missed(self):
        steep = network(Bent(lambda mean: torch.sigmoid(200 * (mean - 0.3))))
        options = {"tolerance": 1e-6, "max_steps": 5}
        for of_image in warned(steep, pictures(), SEEN, "integrated_gradients", **options):
            [warning] = of_image
            assert (warning.code, warning.target) == (WarningCode.TOLERANCE_MISSED, 0)
            assert "a completeness error of 0.00% was aimed at" in warning.detail
            assert "raise max_steps" in warning.advice

    def test_a_standard_error_that_was_missed(self):
        torch.manual_seed(0)
        conv = nn.Sequential(
            nn.Conv2d(1, 24, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24 * 36, 8), nn.Tanh(), nn.Linear(8, 3)
        )
        options = {"estimator": "feature_maps", "layers": ["0"], "tolerance": 1e-6, "n_samples": 200}
        [found] = warned(network(conv), pictures(1), SEEN, "layer_shapley", **options)
        [warning] = [warning for warning in found if warning.code == WarningCode.TOLERANCE_MISSED]
        assert "a standard error of 1e-06 was asked for, at layer 0 it is" in warning.detail

    def test_the_sum_of_the_importance(self):
        steep = network(Bent(lambda mean: torch.sigmoid(200 * (mean - 0.3))))
        options = {"attribution": "integrated_gradients", "n_steps": 3}
        for of_image in warned(steep, pictures(), SEEN, "multiclass_importance", **options):
            [warning] = of_image
            assert warning.code == WarningCode.COMPLETENESS_LARGE
            assert "of the variation that it should add up to" in warning.detail
            assert warning.advice in {"raise n_steps, for example to 12", "raise n_steps, for example to 24"}

    def test_an_importance_that_is_not_made_to_add_up_and_leaves_most_of_it_out(self):
        """The bias tells the classes apart, and no pixel."""
        flat = network(Bent(lambda mean: mean + 30.0))
        for of_image in warned(flat, pictures(), SEEN, "multiclass_importance", attribution="input_x_gradient"):
            [warning] = of_image
            assert warning.code == WarningCode.COMPLETENESS_LARGE
            assert "what it shows is a small part of what tells the classes apart" in warning.detail
            assert warning.advice.startswith("use the attribution integrated_gradients, which adds up")

    @pytest.mark.parametrize(
        ("method", "params"),
        [("integrated_gradients", {"n_steps": 8}), ("layer_shapley", {}), ("multiclass_importance", {})],
    )
    def test_none_where_it_adds_up(self, method, params):
        smooth = network(Bent(lambda mean: mean.square()))
        assert codes(warned(smooth, pictures(), SEEN, method, **params)) == [[], []]


class TestBaselines:
    def test_one_that_is_of_the_class_already(self):
        """Black is as much of the class as the image, and nearly nothing is left: the error is a share of nothing."""
        sure = network(Bent(lambda mean: torch.sin(40 * mean) / 100, offset=1.0))
        for of_image in warned(sure, pictures(), SEEN, "integrated_gradients", n_steps=2):
            [warning] = of_image
            assert (warning.code, warning.target) == (WarningCode.BASELINE_OF_CLASS, 0)
            assert "its output is 1 there and" in warning.detail
            assert "another baseline" in warning.advice
            assert "tolerance" not in warning.advice

    def test_one_that_is_more_of_the_class_than_the_image(self):
        """However much more: the map explains what the image lacks, and looks as if it spoke against its class."""
        more = network(Bent(lambda mean: -10 * mean, offset=20.0))
        for of_image in warned(more, pictures(), SEEN, "integrated_gradients"):
            [warning] = of_image
            assert warning.code == WarningCode.BASELINE_OF_CLASS
            assert "gives the baseline the same class, and more so" in warning.detail
            assert "what the image lacks of the baseline's evidence" in warning.advice

    def test_what_was_tried_is_not_advised_again(self):
        sure = network(Bent(lambda mean: torch.sin(40 * mean) / 100, offset=1.0))
        options = {"baselines": [{"kind": "blur", "sigma": 3.0}, {"kind": "uniform"}], "n_steps": 2}
        [warning, *_] = warned(sure, pictures(1), SEEN, "integrated_gradients", **options)[0]
        assert "another baseline (mean or images of other classes)" in warning.advice

    def test_another_one_is_not(self):
        sure = network(Bent(lambda mean: 10 * (mean - 0.25), offset=0.0))
        assert codes(warned(sure, pictures(), SEEN, "integrated_gradients")) == [[], []]


class TestCurves:
    def test_a_map_that_finds_what_counts_is_better_than_chance(self):
        weights = torch.linspace(0, 1, SIDE * SIDE)
        module = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2, bias=False))
        module[1].weight.data = torch.stack([weights, -weights])
        assert codes(warned(network(module), pictures(), SEEN, "integrated_gradients", curves=CURVES)) == [[], []]

    def test_a_map_that_cannot_be_is_not(self):
        """Every pixel counts alike."""
        alike = torch.full((1, 1, SIDE, SIDE), 0.7)
        [found] = warned(network(Bent(lambda mean: mean)), alike, SEEN, "integrated_gradients", curves=CURVES)
        assert [warning.code for warning in found] == [WarningCode.NO_BETTER_THAN_RANDOM]
        assert "as they go, 1 of 20 more than" in found[0].detail
        assert "in the order of attributions" in found[0].detail
        assert "try a blurred baseline, or layer_shapley" in found[0].advice

    def test_what_was_tried_is_not_advised_again(self):
        alike = torch.full((1, 1, SIDE, SIDE), 0.7)
        options = {"baselines": [{"kind": "black"}, {"kind": "blur", "sigma": 3.0}], "n_steps": 4}
        net = network(Bent(lambda mean: mean))
        [found] = warned(net, alike, SEEN, "integrated_gradients", curves=CURVES, **options)
        [advice] = {warning.advice for warning in found if warning.code == WarningCode.NO_BETTER_THAN_RANDOM}
        assert advice.endswith("try layer_shapley, whose last layers show places")

    def test_a_replacement_that_is_of_the_class_is_told(self):
        """An even picture is of the class, be it bright or black; one that is bright in a part alone is not."""
        weights = torch.linspace(0, 1, SIDE * SIDE).view(SIDE, SIDE)

        class Even(nn.Module):
            def forward(self, x):
                spread = (x * weights).mean((1, 2, 3)).sub(0.35 * weights.mean()).abs().unsqueeze(1)
                return 40 * (spread - 0.08) * torch.tensor([[1.0, -1.0]])

        image = torch.full((1, 1, SIDE, SIDE), 0.7)
        [found] = warned(network(Even()), image, SEEN, "input_x_gradient", curves=CURVES)
        [warning] = [warning for warning in found if warning.code == WarningCode.BASELINE_OF_CLASS]
        assert warning.detail.startswith(
            "with every pixel replaced the class still has a probability of 0.999, and 0.999"
        )
        assert "--occlusion-baseline" in warning.advice

    def test_without_a_random_order_nothing_is_said(self):
        alike = torch.full((1, 1, SIDE, SIDE), 0.7)
        curves, flat = CURVES.model_copy(update={"references": False}), network(Bent(lambda mean: mean))
        assert codes(warned(flat, alike, SEEN, "integrated_gradients", curves=curves)) == [[]]


class TestLayers:
    def test_those_that_are_not_finite_are_left_out_by_name(self):
        torch.manual_seed(0)
        found = warned(network(Padded()), pictures(), SEEN, "layer_shapley", layers="all", n_steps=64)
        for of_image in found:
            left_out = [warning for warning in of_image if warning.code == WarningCode.LAYERS_LEFT_OUT]
            assert len(left_out) == 1
            assert "the scores of layers pad are not finite" in left_out[0].detail

    def test_chosen_they_are_an_error_that_names_them(self):
        torch.manual_seed(0)
        with pytest.raises(NetworkError, match="the scores of layers pad are not finite"):
            warned(network(Padded()), pictures(), SEEN, "layer_shapley", layers=["pad", "conv"])


class TestModels:
    def test_what_its_check_let_pass(self):
        module = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 3), nn.Softmax(1))
        found = warned(network(module), pictures(), SEEN, "integrated_gradients", n_steps=64)
        noted = [[warning for warning in one if warning.code == WarningCode.MODEL_NOTED] for one in found]
        assert [len(one) for one in noted] == [1, 1]
        assert "link: none: the outputs add up to one" in noted[0][0].detail


class TestOverTheQueue:
    def test_they_are_in_the_result_of_a_job(self, images, explained):
        job, result = explained(images(2), explanation={"n_steps": None, "tolerance": 1e-6, "max_steps": 5})
        assert job.status == JobStatus.SUCCEEDED, job.error
        for image in result.images:
            [gap] = image.completeness
            assert gap.relative > 1e-6
            assert [warning.code for warning in image.warnings] in (
                [WarningCode.TOLERANCE_MISSED],
                [WarningCode.BASELINE_OF_CLASS],
            )
            assert image.warnings[0].target == gap.target

    def test_a_baseline_that_is_nearly_the_image(self, context, images, explained):
        first, second = images(2)
        inputs = [{"image": first, "baseline": {"image": first}}, {"image": second}]
        _, result = explained(inputs, explanation={"n_steps": 64})
        assert [warning.code for warning in result.images[0].warnings] == [WarningCode.BASELINE_OF_CLASS]


@pytest.mark.parametrize("code", WarningCode)
def test_every_warning_is_in_the_catalogue(code):
    assert WARNING_TITLES[code]
    assert WARNING_TEXTS[code]
