"""Intervals of the path form halved until every cutting layer's gap is small."""

import itertools

import pytest
import torch

import attribution
from attribution.errors import InvalidOption
from attribution.layerwise.path_to_tolerance import FIRST_INTERVALS, Allowance
from attribution.methods.layer_shapley import layer_shapley
from tests.attribution.tiny_models import SHAPE, images, tiny_model

TARGET = torch.tensor([0, 2, 1])


def explain(name, inputs=None, target=TARGET, **options):
    inputs = images() if inputs is None else inputs
    options.setdefault("background", images(2, seed=5))
    return layer_shapley(attribution.Network(tiny_model(name), SHAPE), inputs, target, **options)


def relative_gaps(found):
    """The gap of the worst layer that cuts the network, over the change of the output, of each image."""
    last = list(found.scores)[-1]
    change = found.scores[last].sum(1) - found.convergence_delta[last]
    deltas = torch.stack([delta for delta in found.convergence_delta.values() if not delta.isnan().any()])
    return deltas.abs().amax(0) / change.abs()


@pytest.mark.parametrize("tolerance", [0.05, 0.01])
@pytest.mark.parametrize("name", ["plain", "residual", "max_pool", "concatenation", "smooth"])
def test_the_worst_layer_is_within_the_tolerance(name, tolerance):
    options = {"inputs": images(1), "target": TARGET[:1], "background": images(1, seed=5)}
    found = explain(name, tolerance=tolerance, max_steps=1025, **options)
    assert float(relative_gaps(found).max()) <= tolerance
    fixed = explain(name, n_steps=513, **options)
    for layer, scores in fixed.scores.items():
        assert float((found.scores[layer] - scores).norm()) <= 20 * tolerance * float(scores.norm()) + 1e-6


def test_inside_a_branch_the_image_decides_where_intervals_are_halved():
    """A layer that does not cut the network has no gap of its own: alone it is worked as exactly as with the others."""
    options = {"inputs": images(1), "target": TARGET[:1], "background": images(1, seed=5), "max_steps": 1025}
    [inside] = (layer for layer in explain("residual", n_steps=2, **drop(options)).scores if layer == "conv1")
    found = explain("residual", layers=[inside], tolerance=0.01, **options)
    assert list(found.scores) == [inside]
    assert found.n_steps.tolist() > [FIRST_INTERVALS + 1]
    fixed = explain("residual", layers=[inside], n_steps=1025, **drop(options)).scores[inside]
    assert float((found.scores[inside] - fixed).norm()) <= 0.05 * float(fixed.norm())


def drop(options):
    return {name: value for name, value in options.items() if name != "max_steps"}


def test_a_smaller_tolerance_takes_more_points_and_a_cap_is_kept():
    loose, tight = (explain("plain", tolerance=tolerance, max_steps=1025) for tolerance in (0.1, 0.005))
    assert (loose.n_steps < tight.n_steps).all()
    assert (loose.n_steps >= 2 * (FIRST_INTERVALS + 1)).all()
    for cap in (17, 33, 40):
        assert (explain("plain", tolerance=1e-9, max_steps=cap).n_steps <= 2 * cap).all()


def test_without_splits_it_is_the_even_rule_of_the_first_intervals():
    found = explain("residual", tolerance=1e6)
    even = explain("residual", n_steps=FIRST_INTERVALS + 1)
    for layer in even.scores:
        assert torch.allclose(found.scores[layer], even.scores[layer], rtol=1e-9, atol=1e-12)
    assert found.n_steps.tolist() == [2 * (FIRST_INTERVALS + 1)] * 3


def test_needs_fewer_points_than_an_even_rule_of_the_same_gap():
    # One kink: splitting closes in on it.
    found = explain("plain", images(1), TARGET[:1], background=images(1, seed=5), tolerance=1e-3, max_steps=4097)
    n_steps = int(found.n_steps)
    even = explain("plain", images(1), TARGET[:1], background=images(1, seed=5), n_steps=n_steps)
    assert float(relative_gaps(found)) < 1e-3 < float(relative_gaps(even)) * 3


def test_every_point_is_evaluated_once(monkeypatch):
    network = attribution.Network(tiny_model("residual"), SHAPE)
    network(images(1))
    network.placements()  # measured once for each size
    rows = []
    run = network.graph.stem.forward
    monkeypatch.setattr(network.graph.stem, "forward", lambda points: rows.append(points.clone()) or run(points))
    found = layer_shapley(network, images(), TARGET, background=images(2, seed=5), tolerance=0.1, max_steps=33)
    points = torch.cat(rows).flatten(1)
    ends = 3 + 2
    assert len(points) == int(found.n_steps.sum()) + ends
    # The ends alone are run once more, for the change of the output; the image belongs to two paths.
    assert len(points.unique(dim=0)) == len(points) - ends - 3 * 1 - 2 * 2


def test_rows_and_chunks_do_not_matter():
    options = {"tolerance": 0.05, "max_steps": 65}
    whole = explain("plain", raw="1", **options)
    for size in (1, 4):
        chunked = explain("plain", chunk_size=size, raw="1", **options)
        assert torch.equal(chunked.n_steps, whole.n_steps)
        assert torch.allclose(chunked.raw["1"], whole.raw["1"], rtol=1e-9, atol=1e-12)
    for row in range(3):
        alone = explain("plain", images()[row : row + 1], TARGET[row : row + 1], **options)
        assert int(alone.n_steps) == int(whole.n_steps[row])
        assert torch.allclose(alone.scores["0"][0], whole.scores["0"][row], rtol=1e-9, atol=1e-12)


def test_two_targets_share_the_points():
    target = torch.tensor([[0, 2]])
    both = explain("plain", images(1), target, background=images(1, seed=5), tolerance=0.02, max_steps=1025)
    last = list(both.scores)[-1]
    change = both.scores[last].sum(2) - both.convergence_delta[last]
    for delta in both.convergence_delta.values():
        assert bool((delta.abs() <= 0.02 * change.abs()).all()) or bool(delta.isnan().all())


def test_progress_ends_where_it_said():
    seen = []
    explain("plain", tolerance=0.1, max_steps=33, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert all(before < after for (before, _), (after, _) in itertools.pairwise(seen))


def test_the_shortest_interval_keeps_to_the_cap():
    for cap in (17, 32, 33, 64, 65, 100_000):
        assert 1 / Allowance(0.1, 0.0, cap).shortest <= cap - 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.1, "n_steps": 5}, "chooses its own points"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"tolerance": float("nan")}, "finite"),
        ({"tolerance": 0.1, "max_steps": 16}, "expected 17"),
        ({"max_steps": 100}, "belongs to tolerance"),
    ],
)
def test_options_at_odds(options, message):
    with pytest.raises(InvalidOption, match=message):
        explain("plain", **options)
