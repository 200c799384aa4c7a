"""The explanation of a data set: maps, rows, means and cases, whatever happens to single images and workers."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import attribution
from attribution_contracts.methods import METHODS
from attribution_contracts.problems import ErrorCode
from tests.workers.data_sets import COUNTS, interleaved
from workers.datasets.reader import DatasetReader
from workers.jobs.procedure import run_jobs
from workers.problems import InvalidImage

ASKED = {"task": "explain", "explanation": {"method": "input_x_gradient", "target": "predicted"}}
SPLIT = ASKED | {"shard_images": 7}
IMAGES = sum(COUNTS)


def table(over, result):
    return pd.read_parquet(io.BytesIO(over.content(result, "rows")))


def arrays(over, result, name="attributions"):
    """The maps of all parts, in the order of the data set."""
    files = [file for file in result.artifacts if file.quantity == "maps"]
    return np.concatenate([np.load(io.BytesIO(over.context.store.get(file.sha256)))[name] for file in files])


def by_hand(over, target=None):
    """Outputs and maps of all images, in one pass."""
    [(inputs, labels)] = over.batches()
    logits = over.classifier.network.logits(inputs).detach()
    chosen = logits.argmax(1) if target is None else target(labels)
    maps = attribution.input_x_gradient(over.classifier.network, inputs, chosen)[0].detach()
    return labels, logits, maps.numpy()


def test_every_image_has_a_row_and_the_map_of_a_pass_by_hand(over):
    result = over.run(SPLIT)
    report, rows = result.details["report"], table(over, result)
    labels, logits, maps = by_hand(over)
    assert rows["position"].tolist() == list(range(IMAGES))
    assert rows["id"].tolist() == list(over.files)
    assert rows["label"].tolist() == labels.tolist()
    assert rows["prediction"].tolist() == rows["target"].tolist() == logits.argmax(1).tolist()
    assert rows["probability"].to_numpy() == pytest.approx(logits.softmax(1).amax(1).numpy(), rel=1e-4)
    assert report["accuracy"] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    assert arrays(over, result) == pytest.approx(maps.sum(1), abs=1e-5)
    assert rows["sum"].to_numpy() == pytest.approx(maps.sum((1, 2, 3)), abs=1e-4)
    vectors = np.stack(rows["vector"])
    assert vectors.shape == (IMAGES, 64)
    assert (vectors == rows[[f"e_{number:03d}" for number in range(64)]].to_numpy()).all()
    assert result.counts.model_dump() == {"images": IMAGES, "succeeded": IMAGES, "failed": 0}


def test_a_row_leads_to_its_map(over):
    result = over.run(SPLIT)
    labels, _, maps = by_hand(over)
    by_name = {file.name: file for file in result.artifacts}
    for row in table(over, result).to_dict("records"):
        file = by_name[row["maps_file"]]
        assert row["maps_href"] == file.href
        part = np.load(io.BytesIO(over.context.store.get(file.sha256)))
        assert part["positions"][row["maps_row"]] == row["position"]
        assert part["labels"][row["maps_row"]] == labels[row["position"]]
        assert part["attributions"][row["maps_row"]] == pytest.approx(maps[row["position"]].sum(0), abs=1e-5)


def test_all_maps_in_one_file_and_mean_maps_of_classes(over):
    result = over.run(SPLIT | {"heatmaps": True, "maps": "channels"})
    labels, _, maps = by_hand(over)
    joined = np.load(io.BytesIO(over.content(result, "heatmaps")))
    assert joined == pytest.approx(maps, abs=1e-5)
    assert np.load(io.BytesIO(over.content(result, "labels"))).tolist() == labels.tolist()
    means = np.load(io.BytesIO(over.content(result, "class_mean_values")))
    assert means["classes"].tolist() == sorted(set(labels.tolist()))
    for index, count, mean, absolute in zip(*(means[name] for name in means.files), strict=True):
        own = maps[labels.numpy() == index]
        assert count == len(own)
        assert mean == pytest.approx(own.mean(0), abs=1e-5)
        assert absolute == pytest.approx(np.abs(own).mean(0), abs=1e-5)
    Image.open(io.BytesIO(over.content(result, "class_means"))).verify()


def test_worst_and_best_are_ordered_by_the_probability_of_the_own_class(over):
    result = over.run(SPLIT | {"n_cases": 3})
    labels, logits, _ = by_hand(over)
    own = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    order, names, report = own.argsort().tolist(), list(over.files), result.details["report"]
    assert [case["image"] for case in report["worst"]] == [names[at] for at in order[:3]]
    assert [case["image"] for case in report["best"]] == [names[at] for at in order[::-1][:3]]
    assert report["worst"][0]["value"] == pytest.approx(float(own.min()), rel=1e-4)
    for which in ("worst_cases", "best_cases"):
        Image.open(io.BytesIO(over.content(result, which))).verify()


def test_figures_that_are_asked_for_are_columns_and_order_the_cases(over):
    asked = SPLIT | {"quality": {"deletions": {"grid": 4, "random_maps": 2}}, "n_cases": 2}
    result = over.run(asked | {"explanation": {"method": "integrated_gradients"}})
    rows, report = table(over, result), result.details["report"]
    figures = {one["name"]: one for one in report["figures"]}
    assert {"completeness_error", "deletion_rank_correlation", "deletion_saco_random"} <= set(figures)
    assert report["ranked_by"] == "deletions"
    ranked = rows["deletion_rank_correlation"].sort_values()
    assert [case["value"] for case in report["worst"]] == ranked.tolist()[:2]
    for name, one in figures.items():
        assert one["mean"] == pytest.approx(rows[name].mean())
        assert one["std"] == pytest.approx(rows[name].std())
        assert (one["least"], one["most"]) == (rows[name].min(), rows[name].max())


def test_another_order_of_workers_and_one_that_is_lost_give_the_same_bytes(over):
    whole = over.run(SPLIT)
    context = over.context
    job_id, parts = over.split(SPLIT)
    lost, *others = interleaved(parts)
    run_jobs(replace(context, name="another"), others)
    run_jobs(context, [lost])
    over.work("a third")
    again = over.result(job_id)
    digests = [{file.name: file.sha256 for file in result.artifacts} for result in (whole, again)]
    assert digests[0] == digests[1]
    assert whole.details == again.details


@pytest.mark.parametrize("broken", [[3], [7, 8, 9, 10, 11, 12, 13]])
def test_an_image_that_cannot_be_read_has_a_row_that_says_so(over, monkeypatch, broken):
    whole = DatasetReader._image

    def refusing(self, spec, position, content):
        if position in broken:
            raise InvalidImage(f"{self.names[position]}: too wide for this model")
        return whole(self, spec, position, content)

    monkeypatch.setattr(DatasetReader, "_image", refusing)
    result = over.run(SPLIT | {"heatmaps": True})
    rows, (_, _, maps) = table(over, result), by_hand(over)
    assert rows["position"].tolist() == list(range(IMAGES))
    assert rows.index[rows["error"].notna()].tolist() == broken
    assert rows.loc[broken[0], "error_code"] == ErrorCode.INVALID_IMAGE
    assert result.counts.failed == result.details["report"]["failed"] == len(broken)
    assert result.details["report"]["errors"][0]["image"] == list(over.files)[broken[0]]
    joined, good = np.load(io.BytesIO(over.content(result, "heatmaps"))), np.delete(np.arange(IMAGES), broken)
    assert np.isnan(joined[broken]).all()
    assert joined[good] == pytest.approx(maps[good].sum(1), abs=1e-5)


def test_a_data_set_of_which_nothing_can_be_explained_fails_with_the_reasons(over, monkeypatch):
    def refusing(self, spec, position, content):
        raise InvalidImage(f"{self.names[position]}: not for this model")

    monkeypatch.setattr(DatasetReader, "_image", refusing)
    job_id = over.enter(SPLIT)
    over.work()
    error = over.job(job_id).error
    assert error.code == ErrorCode.NO_IMAGE_EXPLAINED
    assert f"{next(iter(over.files))}: not for this model" in error.detail


@pytest.mark.parametrize(
    ("explanation", "names"),
    [
        (
            {"method": "integrated_gradients", "target": {"classes": [0, 2]}},
            {"attributions.class-0", "attributions.class-1"},
        ),
        ({"method": "multiclass_importance"}, {"std"}),
        ({"method": "occlusion", "window": 8, "stride": 8}, {"occlusion"}),
        ({"method": "saliency", "target": {"classes": [1], "against": "label"}}, {"saliency"}),
    ],
)
def test_any_method_that_makes_maps(over, explanation, names):
    result = over.run(ASKED | {"explanation": explanation, "n_cases": 1})
    assert names <= set(result.details["report"]["maps"])
    for name in names:
        assert arrays(over, result, name).shape[0] == IMAGES
    assert result.details["report"]["maps"][0].startswith(
        METHODS[explanation["method"]].model_validate(explanation).quantities[0]
    )


def test_without_maps_there_are_rows_all_the_same(over):
    result = over.run(SPLIT | {"maps": "none"})
    rows = table(over, result)
    assert {file.quantity for file in result.artifacts} == {"rows", "worst_cases", "best_cases"}
    assert rows["maps_file"].isna().all()
    assert len(rows["vector"].iloc[0]) == 64
