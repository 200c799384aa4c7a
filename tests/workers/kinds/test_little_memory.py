"""Memory that runs out while a network predicts: fewer images at once, and the same answers."""

import gc

import pytest
import torch

from tests.workers import own_networks
from tests.workers.own_networks import MOST
from tests.workers.sources import zipped
from tests.workers.through_http import picture, weights_of

LABELS = ["a", "b", "c"]
PARTS = {"shard_images": 500}


@pytest.fixture(autouse=True)
def _little_to_collect():
    """Each halving collects garbage, which takes long among the objects of all tests."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def both(through):
    """A network that has room for few images, and the same with room for all."""
    torch.manual_seed(0)
    content = weights_of(own_networks.small())
    assert through.context.settings.batch_images > MOST
    for name in ("hungry", "small"):
        through.ready(name, f"factory:{name}", content, labels=LABELS)
    return through


@pytest.fixture
def letters(both):
    """With a data set of the classes."""
    files = {f"{label}/{n}.png": picture(10 * place + n) for place, label in enumerate(LABELS) for n in range(5)}
    both.add_dataset("letters", zipped(files))
    return both


def task(through, model, **fields):
    return through.ended(through.submit(model=model, dataset="letters", task=fields | PARTS))


@pytest.mark.parametrize("method", ["integrated_gradients", "layer_shapley", "multiclass_importance"])
def test_an_explanation(both, method):
    pictures = [picture(seed) for seed in range(5)]
    given = {"method": method} | ({} if method == "multiclass_importance" else {"n_steps": 4})
    (job, hungry), (_, other) = (both.explain(name, *pictures, **given) for name in ("hungry", "small"))
    assert job["status"] == "succeeded", job["error"]
    assert [image["error"] for image in hungry["images"]] == [None] * 5
    for mine, theirs in zip(hungry["images"], other["images"], strict=True):
        assert [one["logit"] for one in mine["prediction"]] == pytest.approx(
            [one["logit"] for one in theirs["prediction"]], rel=1e-5
        )


@pytest.mark.parametrize("fields", [{"task": "evaluate"}, {"task": "evaluate", "precision": "bfloat16"}])
def test_an_evaluation(letters, fields):
    (job, hungry), (_, other) = (task(letters, name, **fields) for name in ("hungry", "small"))
    assert job["status"] == "succeeded", job["error"]
    assert hungry["details"]["report"] == other["details"]["report"]
    assert hungry["details"]["report"]["images"] == 15


def test_a_sweep_counts_every_image_once(letters):
    fields = {"task": "sweep", "n_initial": [1, 3], "n_features": [1, 4]}
    (job, hungry), (_, other) = (task(letters, name, **fields) for name in ("hungry", "small"))
    assert job["status"] == "succeeded", job["error"]
    assert hungry["details"]["report"] == other["details"]["report"]


def test_a_fit_and_what_is_made_of_it(letters):
    reports = {}
    for name in ("hungry", "small"):
        job, fitted = task(letters, name, task="fit", n_initial=2, n_features=2)
        assert job["status"] == "succeeded", job["error"]
        report = fitted["details"]["report"]
        results = [task(letters, name, task=kind, fit=report["fit"]) for kind in ("evaluate", "ablate")]
        assert [job["status"] for job, _ in results] == ["succeeded"] * 2
        reports[name] = report["indices"], report["frequencies"], [one["details"] for _, one in results]
    assert reports["hungry"] == reports["small"]


def test_a_single_image_that_does_not_fit_is_said_to(both, monkeypatch):
    assert both.explain("hungry", picture(), n_steps=2)[0]["status"] == "succeeded"
    monkeypatch.setattr(own_networks, "MOST", 0)
    job, _ = both.explain("hungry", picture(), n_steps=3)
    assert (job["status"], job["error"]["code"]) == ("failed", "out_of_memory")
