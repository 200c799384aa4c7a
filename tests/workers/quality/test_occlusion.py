"""Occlusion curves of maps of layers: each is told from the others, references are made once, and the cost is exact."""

import pytest
import torch
from torch import nn

import attribution
from attribution.quality.best_order import best_order
from attribution.quality.occlusion import occlusion_curves
from attribution_contracts.baselines import NoisyLinearBaseline
from attribution_contracts.figures.occlusion import OcclusionCurve
from attribution_contracts.methods import METHODS as PARAMS
from attribution_contracts.quality import OcclusionOptions
from attribution_contracts.results import ImageResult
from attribution_contracts.warnings import WarningCode
from service.submission.work import followed
from tests.workers.quality.counted import SEEN, SIDE, counted, ready
from tests.workers.rows import row
from workers.drawing.words import of_class
from workers.methods.calls import Call, Figures
from workers.methods.table import METHODS
from workers.quality.occlusion import occlusion_of, replacement
from workers.quality.warnings import warnings_of

ASKED = {
    "maps of the image": {"method": "integrated_gradients", "n_steps": 4},
    "layers, one of them without places": {"method": "layer_shapley", "layers": "all", "n_steps": 4},
    "stages": {"method": "layer_shapley", "n_steps": 4},
    "several variants and layers": {"method": "cam", "variants": ["hires_cam", "grad_cam"], "layers": "all"},
    "the last layer": {"method": "cam"},
    "fused": {"method": "cam", "layers": "all", "fuse": True},
    "no single class": {"method": "multiclass_importance", "mode": "exact"},
}
OPTIONS = {
    "all": OcclusionOptions(n_steps=3),
    "no references": OcclusionOptions(n_steps=3, references=False),
    "deletion": OcclusionOptions(n_steps=5, insertion=False),
    "best order": OcclusionOptions(n_steps=3, best_order=[2, 3]),
    "best order of pixels that go alone": OcclusionOptions(n_steps=3, best_order=2, insertion=False, references=False),
    "filled by neighbours": OcclusionOptions(n_steps=3, baseline=NoisyLinearBaseline()),
}


def network():
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU()]
    return attribution.Network(
        nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)), (1, SIDE, SIDE)
    )


def call_of(found, inputs, params=None, target=None, seen=SEEN):
    rows = [row(position, one, seen) for position, one in enumerate(inputs)]
    return Call(found, rows, inputs, target, params, lambda done, total: None, 2**30, lambda _: b"")


def followed_of(found, explanation, options, k=2, count=2):
    """The parameters, and the curves of some images and their k most probable classes."""
    params = PARAMS[explanation["method"]].model_validate(explanation)
    inputs = torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    logits = found.logits(inputs).detach()
    target = logits.topk(k if params.class_field() == "target" else 0, 1).indices
    call = call_of(found, inputs, params, target)
    explained = METHODS[params.method].run(call)
    judged = [output for output in explained.outputs if output.field == params.quantities[0]]
    with counted() as passes:
        curves = occlusion_of(call, judged, logits.argmax(1), options, classes=explained.compared)
    return params, curves, passes.total()


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("explanation", ASKED)
def test_the_estimate_is_what_passes_through_the_network(explanation, options):
    found = network()
    params, _, passes = followed_of(found, ASKED[explanation], OPTIONS[options])
    model = ready(found)
    classes = 2 if params.class_field() == "target" else 1
    assert 2 * classes * followed(OPTIONS[options], params, model) == passes


def test_curves_name_their_layers_and_references_come_once_a_class():
    explanation = {"method": "layer_shapley", "layers": ["conv", "input"], "n_steps": 4}
    _, [curves, _], _ = followed_of(network(), explanation, OcclusionOptions(n_steps=3))
    told = [(curve.target, curve.direction, curve.order, curve.layer) for curve in curves]
    orders = [("map", "input"), ("map", "0"), ("map", "2"), ("input_x_gradient", None), ("random", None)]
    for target in {curve.target for curve in curves}:
        for direction in ("deletion", "insertion"):
            assert [tuple(one[2:]) for one in told if one[:2] == (target, direction)] == orders
    assert len(told) == len(set(told)) == 2 * 2 * 5


@pytest.mark.parametrize("std", [[1.0], [0.2, 0.5]])
def test_the_noise_of_a_fill_is_in_units_of_pixels_and_of_the_image_alone(std):
    inputs = torch.rand(2, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    seen = SEEN.model_copy(update={"std": std})
    everything = torch.ones(1, 64, 64, dtype=torch.bool)
    fill = replacement(call_of(network(), inputs, seen=seen), NoisyLinearBaseline(noise=0.03))
    alone = replacement(call_of(network(), inputs[1:], seen=seen), NoisyLinearBaseline(noise=0.03))
    [filled] = fill(torch.tensor([1]), everything)
    assert torch.equal(filled, alone(torch.tensor([0]), everything)[0])
    for channel, deviation in zip(filled, std if len(std) == 2 else std * 2, strict=True):
        assert float(channel.std()) == pytest.approx(0.03 / deviation, rel=5 / (2 * 64**2) ** 0.5)


def test_maps_of_the_image_are_of_no_layer():
    _, curves, _ = followed_of(network(), ASKED["maps of the image"], OPTIONS["all"])
    assert {curve.layer for of_image in curves for curve in of_image} == {None}


def curve(order, direction, area, layer=None, spread=None, prediction=(1.0, 0.0)):
    return OcclusionCurve(
        target=1,
        order=order,
        quantity="layer_map",
        layer=layer,
        direction=direction,
        shares=[0.0, 1.0],
        n_pixels=[0, 4],
        prediction=list(prediction),
        orders=1 if spread is None else 5,
        prediction_area_spread=spread,
        entropy=[0.0, 0.0],
        standard_deviation=[0.0, 0.0],
        prediction_area=area,
        entropy_area=0.0,
        standard_deviation_area=0.0,
    )


def test_a_warning_names_the_layer_whose_map_is_no_better_than_chance():
    params = PARAMS["layer_shapley"].model_validate({"method": "layer_shapley"})
    maps = [curve("map", "deletion", area, layer) for layer, area in (("conv1", 0.6), ("conv2", 0.2))]
    [warning] = warnings_of(params, Figures(), [], [*maps, curve("random", "deletion", 0.5)], [])
    assert (warning.code, warning.target, warning.layer) == (WarningCode.NO_BETTER_THAN_RANDOM, 1, "conv1")
    assert "an area of 0.500" in warning.detail
    assert "it is 0.600 in the order of layer_map of layer conv1" in warning.detail


def judged(*curves):
    params = PARAMS["layer_shapley"].model_validate({"method": "layer_shapley"})
    return [warning.code for warning in warnings_of(params, Figures(), [], curves, [])]


CHANCE = (curve("random", "deletion", 0.5, spread=0.05), curve("random", "insertion", 0.5, spread=0.05))


@pytest.mark.parametrize(("away", "back", "is_better"), [(0.45, 0.5, False), (0.4, 0.54, False), (0.4, 0.6, True)])
def test_a_map_has_to_exceed_what_random_orders_differ_by(away, back, is_better):
    """1 of 20 is t(0.95, 8 degrees) = 1.86 times 0.05 times the root of 2 (1 + 1 / 5), 0.144, above the mean."""
    found = judged(curve("map", "deletion", away), curve("map", "insertion", back), *CHANCE)
    assert found == ([] if is_better else [WarningCode.NO_BETTER_THAN_RANDOM])


@pytest.mark.parametrize(("away", "back"), [(0.6, 0.8), (0.2, 0.4)])
def test_one_direction_makes_up_for_the_other(away, back):
    """A coarse order keeps more as pixels go and brings more as they come; a wrong place does neither."""
    assert judged(curve("map", "deletion", away), curve("map", "insertion", back), *CHANCE) == []


def test_a_prediction_that_does_not_move_says_nothing_of_a_map():
    still = {"prediction": (1.0, 0.93)}
    curves = [curve(order, "deletion", 0.97, spread=0.001, **still) for order in ("map", "random")]
    assert judged(*curves) == [WarningCode.CURVES_UNINFORMATIVE]


def test_random_orders_are_several_and_tell_their_spread():
    explanation = {"method": "integrated_gradients", "n_steps": 4}
    _, [curves, _], _ = followed_of(network(), explanation, OcclusionOptions(n_steps=3, random_orders=7))
    told = {(curve.order, curve.orders, (curve.prediction_area_spread or 0) > 0) for curve in curves}
    assert told == {("map", 1, False), ("input_x_gradient", 1, False), ("random", 7, True)}


def test_the_best_order_comes_once_a_class_and_is_searched_for_in_each_direction():
    options = OcclusionOptions(n_steps=6, references=False, best_order=[2, 3])
    explanation = {"method": "layer_shapley", "layers": ["conv", "input"], "n_steps": 4}
    found = network()
    _, curves, _ = followed_of(found, explanation, options)
    inputs = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for own, image in zip(inputs.split(1), curves, strict=True):
        best = [one for one in image if one.order == "best"]
        assert {(one.layer, one.orders, one.prediction_area_spread) for one in best} == {(None, 1, None)}
        assert len({(one.target, one.direction) for one in best}) == len(best) == 4
        for one in best:
            target, insert = torch.tensor([one.target]), one.direction == "insertion"
            maps = best_order(found, own, target, grid=(2, 3), insert=insert).maps
            expected = occlusion_curves(found, own, maps, target, n_steps=6, insert=insert)
            assert one.prediction == pytest.approx(expected.prediction[0].tolist(), abs=1e-6)


def test_the_page_says_how_the_best_and_the_worst_layer_fare():
    areas = {"conv1": 0.6, "conv2": 0.2, "conv3": 0.3}
    maps = [curve("map", way, area, layer) for way in ("deletion", "insertion") for layer, area in areas.items()]
    image = ImageResult(index=0, custom_id=None, sha256="0" * 64, occlusion=[*maps, curve("random", "deletion", 0.5)])
    away, back = of_class(image, 1)
    assert "20.0 % (layer conv2, the best of 3) to 60.0 % (layer conv1), in random order 50.0 %" in away
    assert "60.0 % (layer conv1, the best of 3) to 20.0 % (layer conv2) (more is better)" in back
    best = image.model_copy(update={"occlusion": [*image.occlusion, curve("best", "deletion", 0.15)]})
    assert "50.0 %, in the best order of patches that was found 15.0 % (less is better)" in next(of_class(best, 1))
    [alone] = of_class(image.model_copy(update={"occlusion": maps[:1]}), 1)
    assert alone.startswith("As pixels go in the order of the map of layer conv1, the class keeps")
