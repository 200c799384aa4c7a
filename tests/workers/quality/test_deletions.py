"""Single deletions of jobs: every map is judged by the same falls, the same whatever the batch, at a known cost."""

import pytest
import torch
from torch import nn

import attribution
from attribution.quality.deletions import patch_falls, patch_sums, rank_correlation, saco
from attribution_contracts.baselines import WhiteBaseline
from attribution_contracts.figures.deletions import DeletionScore, PatchDeletions
from attribution_contracts.methods import METHODS as PARAMS
from attribution_contracts.quality import DeletionOptions
from attribution_contracts.results import ImageResult
from service.submission.work import deleted
from tests.workers.quality.counted import SEEN, SIDE, counted, ready
from tests.workers.rows import row
from workers.drawing.words import of_class
from workers.methods.calls import Call
from workers.methods.table import METHODS
from workers.quality.deletions import deletions_of

ASKED = {
    "maps of the image": {"method": "integrated_gradients", "n_steps": 4},
    "layers, one of them without places": {"method": "layer_shapley", "layers": "all", "n_steps": 4},
    "several variants and layers": {"method": "cam", "variants": ["hires_cam", "grad_cam"], "layers": "all"},
    "several quantities": {"method": "xrai", "n_steps": 2, "scales": [10]},
    "no single class": {"method": "multiclass_importance", "mode": "exact"},
}
OPTIONS = {
    "all": DeletionOptions(grid=3, random_maps=3),
    "no references": DeletionOptions(grid=[2, 4], references=False),
}


def network():
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU()]
    module = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(6 * 16, 3))
    return attribution.Network(module, (1, SIDE, SIDE))


def pictures(count=2):
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def deleted_of(found, explanation, options, k=2, inputs=None, against=None, seed=0):
    """The parameters, the maps and their figures, and the passes that the figures took."""
    params = PARAMS[explanation["method"]].model_validate(explanation)
    inputs = pictures() if inputs is None else inputs
    logits = found.logits(inputs).detach()
    target = logits.topk(k if params.class_field() == "target" else 0, 1).indices
    rows = [row(position, one, SEEN, seed) for position, one in enumerate(inputs)]
    call = Call(found, rows, inputs, target, params, lambda done, total: None, 2**30, lambda _: b"")
    call = call._replace(against=None if against is None else against(target))
    explained = METHODS[params.method].run(call)
    judged = [output for output in explained.outputs if output.field in options.judged(params.quantities)]
    with counted() as passes:
        deletions = deletions_of(call, judged, logits.argmax(1), options)
    return params, judged, deletions, passes.total()


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("explanation", ASKED)
def test_the_estimate_is_what_passes_through_the_network(explanation, options):
    found = network()
    params, _, deletions, passes = deleted_of(found, ASKED[explanation], OPTIONS[options])
    model = ready(found)
    classes = 2 if params.class_field() == "target" else 1
    assert 2 * deleted(OPTIONS[options], classes, model) == passes
    [told] = {one.forward_passes for of_image in deletions for one in of_image}
    assert 2 * told == passes - 2 * 2 * classes * OPTIONS[options].references


def test_another_explanation_of_the_same_images_and_classes_takes_no_passes_again():
    found, options = network(), OPTIONS["no references"]
    first, second = {"method": "saliency"}, {"method": "input_x_gradient"}
    *_, falls, passes = deleted_of(found, first, options)
    *_, again, none = deleted_of(found, second, options)
    assert (passes > 0, none) == (True, 0)
    assert [[one.falls for one in own] for own in again] == [[one.falls for one in own] for own in falls]
    for changed in (
        {"k": 1},
        {"inputs": pictures() + 0.1},
        {"options": DeletionOptions(grid=[2, 4], references=False, baseline=WhiteBaseline())},
        {"options": DeletionOptions(grid=[4, 2], references=False)},
        {"against": lambda target: (target + 1) % 3},
    ):
        assert deleted_of(found, second, **{"options": options} | changed)[-1] > 0, changed
    assert deleted_of(found.explaining("probability"), second, options)[-1] > 0
    assert deleted_of(network(), second, options)[-1] > 0  # of another copy of the network nothing is known


@pytest.mark.parametrize("explanation", ASKED)
def test_every_map_is_judged_by_the_same_falls(explanation):
    params, judged, deletions, _ = deleted_of(network(), ASKED[explanation], OPTIONS["all"])
    for of_image in deletions:
        assert len({one.target for one in of_image}) == len(of_image)
        for one in of_image:
            told = [(score.quantity, score.layer) for score in one.scores if score.judged == "map"]
            own = [output for output in judged if output.targets is None or one.target in output.targets]
            wanted = {(output.field, output.layer) for output in own}
            assert set(told) == wanted
            assert len(told) == len(wanted)
            assert [score.judged for score in one.scores[len(told) :]] == ["input_x_gradient", "random"]
            assert [score.maps for score in one.scores[-2:]] == [1, 3]
            assert one.scores[-1].rank_correlation_spread > 0 < one.scores[-1].saco_spread
    assert set(params.quantities) >= {output.field for output in judged}


def test_figures_are_those_of_the_engine():
    found, inputs = network(), pictures()
    _, [first, second], deletions, _ = deleted_of(found, ASKED["maps of the image"], OPTIONS["all"])
    for place, output in enumerate((first, second)):
        target = torch.tensor(output.targets)
        falls = patch_falls(found, inputs, target, grid=(3, 3)).falls[:, 0]
        sums = patch_sums(output.values, inputs, (3, 3))
        for number, of_image in enumerate(deletions):
            one = of_image[place]
            [score] = [score for score in one.scores if score.judged == "map"]
            assert one.target == int(target[number])
            assert torch.allclose(torch.tensor(one.falls).double(), falls[number], atol=1e-6)
            assert score.rank_correlation == pytest.approx(float(rank_correlation(sums, falls)[number]))
            assert score.saco == pytest.approx(float(saco(sums, falls)[number]))


def test_input_x_gradient_is_told_as_itself():
    """The reference and the method are one map, also of one class against another."""
    for against in (None, lambda target: target.flip(1)):
        explanation = {"method": "input_x_gradient"}
        _, _, deletions, _ = deleted_of(network(), explanation, OPTIONS["all"], against=against)
        for one in (one for of_image in deletions for one in of_image):
            own, beside, _ = one.scores
            assert (own.rank_correlation, own.saco) == (
                pytest.approx(beside.rank_correlation),
                pytest.approx(beside.saco),
            )


def test_a_class_against_another_falls_by_the_difference():
    options = DeletionOptions(grid=3, references=False)
    _, _, alone, _ = deleted_of(network(), ASKED["maps of the image"], options)
    _, _, held, _ = deleted_of(network(), ASKED["maps of the image"], options, against=lambda target: target.flip(1))
    for (first, second), (over, under) in zip(alone, held, strict=True):
        apart = torch.tensor(first.falls) - torch.tensor(second.falls)
        assert torch.allclose(torch.tensor(over.falls), apart, atol=1e-5)
        assert torch.allclose(torch.tensor(under.falls), -apart, atol=1e-5)
        assert over.output == pytest.approx(first.output - second.output, abs=1e-5)


def test_rows_do_not_depend_on_their_batch_and_the_seed_decides():
    explanation, found = ASKED["maps of the image"], network()
    _, _, both, _ = deleted_of(found, explanation, OPTIONS["all"])
    _, _, again, _ = deleted_of(found, explanation, OPTIONS["all"])
    assert both == again
    for number, one in enumerate(pictures()):
        _, _, [alone], _ = deleted_of(found, explanation, OPTIONS["all"], inputs=one[None])
        for own, other in zip(alone, both[number], strict=True):
            assert torch.allclose(torch.tensor(own.falls), torch.tensor(other.falls), atol=1e-6)
            assert own.scores[-1].rank_correlation == pytest.approx(other.scores[-1].rank_correlation)
            assert own.scores[0].rank_correlation == pytest.approx(other.scores[0].rank_correlation)
    _, _, seeded, _ = deleted_of(found, explanation, OPTIONS["all"], seed=1)
    assert [one.scores[0] for one in seeded[0]] == [one.scores[0] for one in both[0]]
    assert [one.scores[-1] for one in seeded[0]] != [one.scores[-1] for one in both[0]]


def test_where_nothing_falls_the_figures_are_null():
    [[one, *_], _] = deleted_of(network(), ASKED["maps of the image"], OPTIONS["all"], inputs=torch.zeros(2, 1, 8, 8))[
        2
    ]
    assert {fall for line in one.falls for fall in line} == {0.0}
    assert {(score.rank_correlation, score.saco, score.saco_spread) for score in one.scores} == {(None, None, None)}
    assert "nothing is to be told for cat" in one.sentence("cat")


def score(judged, rank, pairs, **more):
    return DeletionScore(judged=judged, rank_correlation=rank, saco=pairs, **more)


def told(*maps):
    beside = score(
        "random", 0.01, -0.02, maps=20, rank_correlation_spread=0.144, saco_spread=0.2
    ), score("input_x_gradient", 0.3, 0.4)  # fmt: skip
    one = PatchDeletions(
        target=1, output=2.0, falls=[[1.0, 0.0], [0.5, 0.25]], forward_passes=5, scores=[*maps, *reversed(beside)]
    )
    image = ImageResult(index=0, custom_id=None, sha256="0" * 64, deletions=[one])
    [sentence] = of_class(image, 1)
    return sentence


def test_the_page_says_how_far_maps_agree_and_how_chance_does():
    sentence = told(score("map", 0.625, 0.7, quantity="attributions"))
    assert "as each of 2 x 2 patches alone is replaced" in sentence
    assert ": 0.62 and 0.70; input x gradient 0.30 and 0.40 and 20 random maps 0.01 ± 0.14 and −0.02 ± 0.20" in sentence
    assert sentence.endswith("; 5 forward passes.")


def test_of_many_maps_the_best_and_the_worst_are_named():
    maps = [score("map", rank, 0.5, quantity="layer_map", layer=f"conv{rank}") for rank in (0.4, 0.1, 0.9, 0.3)]
    assert (
        "layer_map of layer conv0.9 0.90 and 0.50, the best of 4 maps, to layer_map of layer conv0.1 0.10 and 0.50"
        in told(*maps)
    )
    few = told(*maps[:2])
    assert "layer_map of layer conv0.4 0.40 and 0.50 and layer_map of layer conv0.1 0.10 and 0.50" in few
