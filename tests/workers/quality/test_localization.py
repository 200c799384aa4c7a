"""Localisation of jobs: maps are held against the image's own mask, the same whatever the batch, at a known cost."""

import pytest
import torch
from torch import nn

import attribution
from attribution.quality.localization import centre_maps, localization
from attribution_contracts.figures.localization import LocalizationScore, MapLocalization
from attribution_contracts.images import ImageRef
from attribution_contracts.methods import METHODS as PARAMS
from attribution_contracts.quality import LocalizationOptions
from attribution_contracts.results import ImageResult
from cli.sentences import sentences
from service.submission.work import localized
from tests.workers.quality.counted import SEEN, SIDE, counted, ready
from tests.workers.rows import row
from workers.drawing import words
from workers.methods.calls import Call
from workers.methods.table import METHODS
from workers.quality.localization import localization_of

ASKED = {
    "maps of the image": {"method": "integrated_gradients", "n_steps": 4},
    "layers, one of them without places": {"method": "layer_shapley", "layers": "all", "n_steps": 4},
    "several variants and layers": {"method": "cam", "variants": ["hires_cam", "grad_cam"], "layers": "all"},
    "no single class": {"method": "multiclass_importance", "mode": "exact"},
}
OPTIONS = {"all": LocalizationOptions(random_maps=3), "no references": LocalizationOptions(references=False)}


def network():
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU()]
    module = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(6 * 16, 3))
    return attribution.Network(module, (1, SIDE, SIDE))


def pictures(count=3):
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def mask_of(position):
    found = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    found[position : position + 3, 2:6] = True
    return found


def row_of(position, inputs, seed=0, *, is_marked=True):
    made = row(position, inputs, SEEN, seed)
    if not is_marked:
        return made
    given = made.given.model_copy(update={"mask": ImageRef(image="0" * 64)})
    return made._replace(given=given, evidence=mask_of(position))


def localized_of(found, explanation, options, *, inputs=None, rows=None, against=None, seed=0, k=2):
    """The parameters, the maps and their figures, and the passes that the figures took."""
    params = PARAMS[explanation["method"]].model_validate(explanation)
    inputs = pictures() if inputs is None else inputs
    logits = found.logits(inputs).detach()
    target = logits.topk(k if params.class_field() == "target" else 0, 1).indices
    rows = [row_of(position, one, seed) for position, one in enumerate(inputs)] if rows is None else rows
    call = Call(found, rows, inputs, target, params, lambda done, total: None, 2**30, lambda _: b"")
    call = call._replace(against=None if against is None else against(target))
    explained = METHODS[params.method].run(call)
    judged = [output for output in explained.outputs if output.field in options.judged(params.quantities)]
    with counted() as passes:
        told = localization_of(call, judged, logits.argmax(1), options)
    return params, judged, told, passes


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("explanation", ASKED)
def test_the_estimate_is_what_passes_through_the_network(explanation, options):
    found = network()
    params, _, told, passes = localized_of(found, ASKED[explanation], OPTIONS[options])
    classes = 2 if params.class_field() == "target" else 1
    assert 3 * localized(OPTIONS[options], classes, ready(found)) == passes.total()
    assert sum(one.forward_passes for of_image in told for one in of_image) == passes["forward"]


@pytest.mark.parametrize("explanation", ASKED)
def test_every_map_is_judged(explanation):
    _, judged, told, _ = localized_of(network(), ASKED[explanation], OPTIONS["all"])
    for position, of_image in enumerate(told):
        assert len({one.target for one in of_image}) == len(of_image)
        for one in of_image:
            own = [output for output in judged if output.targets is None or one.target in output.targets]
            maps = [(score.quantity, score.layer) for score in one.scores if score.judged == "map"]
            assert set(maps) == {(output.field, output.layer) for output in own}
            assert [score.judged for score in one.scores[len(maps) :]] == ["input_x_gradient", "centre", "random"]
            assert [score.maps for score in one.scores[-3:]] == [1, 1, 3]
            assert one.share == pytest.approx(float(mask_of(position).double().mean()))
            assert (one.given, one.tolerance) == ("mask", 0)


def test_figures_are_those_of_the_engine():
    found, inputs = network(), pictures()
    options = LocalizationOptions(random_maps=3, tolerance=2)
    _, [first, second], told, _ = localized_of(found, ASKED["maps of the image"], options)
    masks = torch.stack([mask_of(position) for position in range(3)])
    for place, output in enumerate((first, second)):
        for judged, maps in (("map", output.values), ("centre", centre_maps(inputs))):
            expected = localization(maps, inputs, masks, tolerance=2)
            for position, of_image in enumerate(told):
                [score] = [score for score in of_image[place].scores if score.judged == judged]
                figures = [score.pointing, score.mass_inside, score.rank_accuracy]
                assert figures == pytest.approx([float(figure[position]) for figure in expected])


def test_an_image_without_a_mask_has_no_figures_and_costs_nothing():
    found, inputs = network(), pictures()
    rows = [row_of(position, one, is_marked=position != 1) for position, one in enumerate(inputs)]
    _, _, told, passes = localized_of(found, ASKED["maps of the image"], OPTIONS["all"], rows=rows)
    _, _, whole, _ = localized_of(found, ASKED["maps of the image"], OPTIONS["all"])
    assert told[1] == []
    for position in (0, 2):
        for own, other in zip(told[position], whole[position], strict=True):
            figures = [[score.pointing, score.mass_inside, score.rank_accuracy] for score in own.scores]
            assert figures == [
                pytest.approx([score.pointing, score.mass_inside, score.rank_accuracy]) for score in other.scores
            ]
    assert passes.total() == 2 * localized(OPTIONS["all"], 2, ready(found))
    bare = [row_of(position, one, is_marked=False) for position, one in enumerate(inputs)]
    _, _, nothing, passes = localized_of(found, ASKED["maps of the image"], OPTIONS["all"], rows=bare)
    assert (nothing, passes.total()) == ([[], [], []], 0)


def test_input_x_gradient_is_told_as_itself():
    """The reference and the method are one map, also of one class against another."""
    for against in (None, lambda target: target.flip(1)):
        _, _, told, _ = localized_of(network(), {"method": "input_x_gradient"}, OPTIONS["all"], against=against)
        for one in (one for of_image in told for one in of_image):
            own, beside, *_ = one.scores
            assert own.mass_inside == pytest.approx(beside.mass_inside)
            assert own.rank_accuracy == pytest.approx(beside.rank_accuracy)


def test_rows_do_not_depend_on_their_batch_and_the_seed_decides():
    found, inputs = network(), pictures()
    _, _, whole, _ = localized_of(found, ASKED["maps of the image"], OPTIONS["all"])
    for position in range(3):
        rows = [row_of(position, inputs[position])]
        alone = localized_of(
            found, ASKED["maps of the image"], OPTIONS["all"], inputs=inputs[position : position + 1], rows=rows
        )[2]
        for own, other in zip(alone[0], whole[position], strict=True):
            assert own.scores[-1] == other.scores[-1]
            assert own.scores[0].mass_inside == pytest.approx(other.scores[0].mass_inside)
    _, _, seeded, _ = localized_of(found, ASKED["maps of the image"], OPTIONS["all"], seed=1)
    assert [one.scores[0] for one in seeded[0]] == [one.scores[0] for one in whole[0]]
    assert [one.scores[-1] for one in seeded[0]] != [one.scores[-1] for one in whole[0]]


def test_where_nothing_is_positive_the_mass_is_null():
    _, _, told, _ = localized_of(network(), ASKED["maps of the image"], OPTIONS["all"], inputs=torch.zeros(3, 1, 8, 8))
    for one in (one for of_image in told for one in of_image):
        own = one.scores[0]
        assert own.mass_inside is None
        assert own.pointing == own.rank_accuracy == pytest.approx(one.share)
        assert "undefined" in own.said


def scored(judged, *figures, **more):
    pointing, mass, rank = figures
    return LocalizationScore(judged=judged, pointing=pointing, mass_inside=mass, rank_accuracy=rank, **more)


def image_with(*maps):
    beside = [
        scored("input_x_gradient", 1.0, 0.5, 0.49),
        scored("centre", 0.25, 0.22, 0.36),
        scored("random", 0.1, 0.13, 0.135, maps=20, pointing_spread=0.3, mass_inside_spread=0.01,
               rank_accuracy_spread=0.02),
    ]  # fmt: skip
    one = MapLocalization(
        target=1, given="boxes", share=0.132, tolerance=0, forward_passes=1, scores=[*maps, *beside]
    )  # fmt: skip
    return ImageResult(index=0, custom_id=None, sha256="0" * 64, localization=[one])


def test_page_and_command_line_say_where_maps_lie_and_where_chance_and_the_centre_do():
    image = image_with(scored("map", 1.0, 0.68, 0.59, quantity="attributions"))
    [sentence] = words.of_class(image, 1)
    assert "of the predicted class lies within the boxes, 13.2 % of the image, by pointing game" in sentence
    assert ": 1.00, 0.68 and 0.59; input x gradient 1.00, 0.50 and 0.49, the centre of the image 0.25" in sentence
    assert "and 20 random maps 0.10 ± 0.30, 0.13 ± 0.01 and 0.14 ± 0.02; 1 forward pass." in sentence
    [told] = sentences(image)
    assert told.startswith("how far the map of 1 lies within the boxes")


def test_of_many_maps_the_best_and_the_worst_are_named():
    maps = [scored("map", 1.0, 0.5, rank, quantity="layer_map", layer=f"conv{rank}") for rank in (0.4, 0.1, 0.9, 0.3)]
    [sentence] = words.of_class(image_with(*maps), 1)
    assert (
        "layer_map of layer conv0.9 1.00, 0.50 and 0.90, the best of 4 maps, to layer_map of layer conv0.1" in sentence
    )


def test_an_image_that_has_none_says_why():
    image = ImageResult(
        index=0, custom_id=None, sha256="0" * 64, localization_missing="it came with neither mask nor boxes"
    )
    assert list(words.of_image(image)) == ["Where the maps lie is not told: it came with neither mask nor boxes."]
    assert list(sentences(image)) == ["where its maps lie is not told: it came with neither mask nor boxes"]
