"""Strategies over a data set: what is reported against one pass by hand, parts and whole, pictures and state."""

import csv
import io
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load

import attribution
from attribution.data_sets.strategies import Strategies, clusters_of, map_vectors, strategies_of
from tests.workers.data_sets import COUNTS, FOLDERS, interleaved
from workers.jobs.procedure import run_jobs

TASK = {"task": "strategies", "n_examples": 2, "side": 4}
IMAGES = sum(COUNTS)


def by_hand(over, maps):
    """The vectors of all images, in one pass, by the class of each."""
    [(inputs, labels)] = over.batches()
    return map_vectors(getattr(attribution, maps)(over.classifier.network, inputs, labels)[0], 4), labels


@pytest.mark.parametrize("maps", ["lrp", "input_x_gradient"])
def test_it_is_what_one_pass_gives(over, maps):
    results = [over.run(TASK | {"shard_images": size, "maps": maps}) for size in (5, 500)]
    one, whole = (result.details["report"] for result in results)
    assert one["maps"] == maps
    vectors, labels = by_hand(over, maps)
    rows = list(csv.DictReader(io.StringIO(over.content(results[0], "decisions").decode())))
    assert sorted(row["image"] for row in rows) == sorted(over.files)
    distances = {row["image"]: float(row["distance"]) for row in rows}
    names = list(over.files)
    state = load(over.content(results[0], "strategies"))
    assert [found["images"] for found in one["by_class"]] == [
        int((labels == found["index"]).sum()) for found in one["by_class"]
    ]
    for found, other in zip(one["by_class"], whole["by_class"], strict=True):
        own = (labels == found["index"]).nonzero()[:, 0]
        clusters = clusters_of(vectors[own])
        known = strategies_of(vectors[own], clusters.labels)
        near = known.nearest(vectors[own]).distances
        assert [distances[names[at]] for at in own.tolist()] == pytest.approx(near.tolist(), rel=1e-3)
        assert [part["images"] for part in found["strategies"]] == [len(own)]
        assert found["farthest"][0] == other["farthest"][0] == names[int(own[near.argmax()])]
        stored = Strategies(**{name: state[f"{found['index']}.{name}"] for name in Strategies._fields})
        torch.testing.assert_close(stored.mean, known.mean, rtol=1e-4, atol=1e-6)


def test_sheets_show_the_strategies_of_the_classes_that_have_images(over):
    result = over.run(TASK)
    sheets = [file for file in result.artifacts if file.quantity == "class_strategies"]
    assert len(sheets) == len(FOLDERS)
    for file in sheets:
        Image.open(io.BytesIO(over.context.store.get(file.sha256))).verify()
    report = result.details["report"]
    [state] = [file.sha256 for file in result.artifacts if file.quantity == "strategies"]
    assert report["state"] == state
    assert report["several"] == []


def test_classes_that_are_asked_for_and_groups_by_prediction(over):
    [(inputs, _)] = over.batches()
    predicted = over.classifier.network.logits(inputs).argmax(1)
    report = over.run(TASK | {"group": "prediction"}).details["report"]
    counts = predicted.bincount()
    assert {found["index"]: found["images"] for found in report["by_class"]} == {
        index: int(count) for index, count in enumerate(counts) if count > 1
    }
    assert all(part["right"] <= 1 for found in report["by_class"] for part in found["strategies"])
    some = over.run(TASK | {"classes": [report["by_class"][0]["index"]]}).details["report"]
    assert len(some["by_class"]) <= 1


def test_parts_in_any_order_give_the_same_bytes(over):
    task = TASK | {"shard_images": 4}
    first = over.run(task)
    job_id, parts = over.split(task, seed=0, request={"priority": "low"})
    for part in interleaved(parts):
        run_jobs(over.context, [part])
    over.work()
    second = over.result(job_id)
    assert [file.sha256 for file in first.artifacts] == [file.sha256 for file in second.artifacts]


def test_rules_that_the_operator_has_disabled_are_not_followed(over, monkeypatch):
    limited = over.context.settings.model_copy(update={"disabled_methods": ("lrp",)})
    monkeypatch.setattr(over, "context", replace(over.context, settings=limited))
    assert over.run(TASK).details["report"]["maps"] == "input_x_gradient"
    job_id = over.enter(TASK | {"maps": "lrp"})
    over.work()
    assert "disabled lrp, whose rules strategies would follow" in over.job(job_id).error.detail
    patches = over.run({"task": "maximal_patches", "n_channels": 1, "n_images": 1}).details["report"]
    assert patches["beside"] != "lrp"
