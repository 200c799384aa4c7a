"""What tasks over a data set report, against the engine in one pass; and what comes of a fit."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load, save

import attribution
from attribution import Influential
from attribution.data_sets.judged import judged
from attribution.final_layer import last_maps as feature_maps
from attribution_contracts.digests import model_digest
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.problems import ErrorCode
from attribution_contracts.results import Result
from attribution_contracts.states import JobKind, JobStatus
from storage.artifacts.owned import owned
from storage.ledger.jobs import result_of
from storage.ledger.records import NewJob
from storage.registry.models import find_model, register
from storage.tables import DEFAULT_TENANT
from tests.workers.data_sets import COUNTS, FIT, Over
from tests.workers.sources import ingested, zipped
from workers.images.preprocessing import preprocess
from workers.jobs.procedure import run_jobs
from workers.models.inputs import build_network

IMAGES = sum(COUNTS)


@pytest.fixture
def influential(over, fit):
    return Influential.from_bytes(over.context.store.get(fit["fit"]))


@pytest.fixture
def registered(context, classifier):
    """Registers and checks a decomposed classifier; its version as it is then."""

    def run(weights, n_features, version="decomposed", **changes):
        spec = classifier.spec.model_copy(
            update={
                "version": version,
                "decomposed": n_features,
                "weights": classifier.spec.weights.model_copy(update={"sha256": weights}),
            }
            | changes
        )
        digest = model_digest(spec)
        check = NewJob(kind=JobKind.CHECK, request=spec.model_dump(mode="json"), max_attempts=1)
        register(context.engine, DEFAULT_TENANT, spec, digest, check)
        Over.work(Idle(context))
        return find_model(context.engine, DEFAULT_TENANT, f"tiny@{version}"), spec, digest

    return run


class Idle(Over):
    """A worker with no data set."""

    def __init__(self, context):
        self.context = context


def check_counts(report, found):
    """A report says what the engine counted."""
    columns = {name: values.tolist() for name, values in found._asdict().items()}
    assert report["classes"] == columns
    assert (report["accuracy"], report["full_accuracy"]) == (found.accuracy, found.full_accuracy)
    assert report["ratio"] == (None if math.isnan(found.ratio) else found.ratio)
    assert report["agreement"] == int(found.agreed.sum()) / IMAGES
    assert (report["images"], report["standard_error"]) == (IMAGES, found.standard_error)
    assert report["interval"][0] <= report["accuracy"] <= report["interval"][1]


@pytest.mark.parametrize("size", [5, 500])
class TestCounting:
    def test_evaluation_of_a_fit(self, over, fit, influential, size):
        result = over.run({"task": "evaluate", "fit": fit["fit"], "shard_images": size})
        found = attribution.evaluate(over.classifier.network, influential, over.batches())
        check_counts(result.details["report"], found)
        assert 0 < int(found.agreed.sum()) < IMAGES

    def test_evaluation_of_the_network_alone(self, over, size):
        report = over.run({"task": "evaluate", "shard_images": size}).details["report"]
        [(inputs, labels)] = over.batches()
        right = over.classifier.network.logits(inputs).argmax(1) == labels
        assert report["classes"]["full"] == torch.bincount(labels[right], minlength=4).tolist()
        assert report["classes"]["images"] == torch.bincount(labels, minlength=4).tolist()
        assert report["accuracy"] == report["full_accuracy"] == int(right.sum()) / IMAGES
        assert report["agreement"] == 1
        assert all(isinstance(text, str) for text in report["warnings"])

    def test_what_the_network_confuses_and_how_sure_it_is(self, over, size):
        result = over.run({"task": "evaluate", "shard_images": size})
        report = result.details["report"]
        [(inputs, labels)] = over.batches()
        logits = over.classifier.network.logits(inputs)
        found = judged(logits, logits.softmax(1), labels)
        wrong = found.confusion.to_dense().fill_diagonal_(0)
        assert {(one["label"], one["predicted"]): one["images"] for one in report["confused"]} == {
            (label, predicted): int(wrong[label, predicted]) for label, predicted in wrong.nonzero().tolist()
        }
        assert [one["images"] for one in report["confused"]] == sorted(wrong[wrong > 0].tolist(), reverse=True)
        assert report["calibration"]["error"] == pytest.approx(found.calibration_error, rel=1e-5)
        assert sum(one["images"] for one in report["calibration"]["bins"]) == IMAGES
        for chart in ("confusion", "calibration"):
            assert Image.open(io.BytesIO(over.content(result, chart))).format == "PNG"

    def test_which_images_are_wrong_the_surest_first(self, over, size):
        report = over.run({"task": "evaluate", "shard_images": size}).details["report"]
        [(inputs, labels)] = over.batches()
        sure, winners = over.classifier.network.logits(inputs).softmax(1).max(1)
        names, classes = list(over.files), over.classifier.spec.labels
        wrong = [at for at in sure.argsort(descending=True, stable=True).tolist() if winners[at] != labels[at]]
        found = report["misclassified"]
        assert found["images"] == len(wrong) == sum(one["images"] for one in report["confused"]) > 0
        assert [one["image"] for one in found["surest"]] == [names[at] for at in wrong]
        for one, at in zip(found["surest"], wrong, strict=True):
            assert one["probability"] == pytest.approx(float(sure[at]), rel=1e-4)
            assert (one["label"], one["predicted"]) == (int(labels[at]), int(winners[at]))
            assert one["names"] == [classes[labels[at]], classes[winners[at]]]

    def test_a_decomposition_has_counts_alone(self, over, fit, size):
        report = over.run({"task": "evaluate", "fit": fit["fit"], "shard_images": size}).details["report"]
        assert report["misclassified"] is None

    def test_in_bfloat16(self, over, fit, influential, size):
        network, narrow = over.classifier.network, {"precision": "bfloat16", "shard_images": size}
        found = attribution.evaluate(network, influential, over.batches(), precision="bfloat16")
        check_counts(over.run({"task": "evaluate", "fit": fit["fit"]} | narrow).details["report"], found)
        alone = over.run({"task": "evaluate"} | narrow).details["report"]
        assert alone["classes"]["full"] == found.full.tolist()
        fitted = over.run(FIT | narrow).details["report"]
        expected = attribution.influential_features(
            network, over.batches(), n_initial=6, n_features=4, precision="bfloat16"
        )
        assert fitted["indices"] == [row[row >= 0].tolist() for row in expected.indices]
        assert fitted["coverage"][0] == pytest.approx(float(expected.coverage[0]), rel=1e-12)
        assert fitted["coverage"][0] != pytest.approx(fit["coverage"][0], rel=1e-6)

    @pytest.mark.parametrize("noise", ["gaussian", "zero"])
    @pytest.mark.parametrize("replaced", ["influential", "others"])
    def test_ablation(self, over, fit, influential, size, replaced, noise):
        task = {"task": "ablate", "fit": fit["fit"], "replace": replaced, "noise": noise, "shard_images": size}
        found = attribution.ablate(
            over.classifier.network, influential, over.batches(), replace=replaced, noise=noise, seed=7
        )
        check_counts(over.run(task, seed=7).details["report"], found)

    @pytest.mark.parametrize("is_held_out", [False, True])
    def test_sweep(self, over, held_out, size, is_held_out):
        sizes = {"n_initial": [1, 6], "n_features": [1, 4, 64]}
        validation = held_out if is_held_out else None
        result = over.run({"task": "sweep", "shard_images": size} | sizes, validation=validation)
        found = attribution.sweep(
            over.classifier.network,
            over.batches(),
            **sizes,
            validation=held_out.batches() if is_held_out else None,
        )
        report = result.details["report"]
        assert report["accuracy"] == found.accuracy.tolist()
        assert report["full_accuracy"] == int(found.full.sum()) / IMAGES
        assert report["ratio"] == found.ratio.tolist()
        assert (report["n_initial"], report["n_features"]) == ([1, 6], [1, 4, 64])
        assert report["accuracy"][0][2] == report["full_accuracy"]
        assert Image.open(io.BytesIO(over.content(result, "sweep"))).format == "PNG"


def test_one_class_alone_shares_nothing_with_others(over):
    report = over.run(FIT | {"shard_images": 9}).details["report"]
    assert report["mean_jaccard"] is not None
    north = {name: content for name, content in over.files.items() if name.startswith("north/")}
    over.pinned = over.pinned.model_copy(
        update={"sha256": ingested(over.context, zipped(north), "north").sha256, "images": len(north), "classes": [1]}
    )
    assert over.run(FIT).details["report"]["mean_jaccard"] is None


class TestRetraining:
    def test_the_seed_decides(self, over, fit, held_out):
        task = {"task": "retrain", "fit": fit["fit"], "epochs": 2, "batch_size": 8}
        one, again = (over.run(task, seed=3, validation=held_out).details["report"] for _ in range(2))
        other = over.run(task, seed=4).details["report"]
        assert one == again
        assert other["weights"] not in {one["weights"], fit["weights"]}
        assert (len(one["losses"]), len(one["accuracies"]), other["accuracies"]) == (2, 3, None)
        assert one["losses"][1] < one["losses"][0]
        assert (one["learning_rate"], one["n_features"]) == (0.05, 4)

    def test_the_head_alone_changes_unless_told(self, over, fit):
        before = load(over.context.store.get(fit["weights"]))
        head = {"task": "retrain", "fit": fit["fit"], "batch_size": 8}
        for task, expected in ((head, {"linear.weight", "linear.bias"}), (head | {"scope": "all"}, None)):
            after = load(over.context.store.get(over.run(task).details["report"]["weights"]))
            changed = {name for name in before if not torch.equal(before[name], after[name])}
            assert changed == expected or (expected is None and "conv1.weight" in changed), task
            assert "linear.indices" not in changed

    def test_it_goes_on_from_weights_with_features_of_their_own(self, over, fit):
        wider = over.run(FIT | {"n_features": 9}).details["report"]
        task = {"task": "retrain", "fit": wider["fit"], "weights": wider["weights"]}
        report = over.run(task).details["report"]
        indices = load(over.context.store.get(report["weights"]))["linear.indices"]
        assert indices.shape == (4, report["n_features"]) == (4, 9)

    def test_weights_of_another_fit_are_refused(self, over, fit):
        wider = over.run(FIT | {"n_features": 9}).details["report"]
        job_id = over.enter({"task": "retrain", "fit": fit["fit"], "weights": wider["weights"]})
        over.work()
        job = over.job(job_id)
        assert (job.status, job.error.code) == (JobStatus.FAILED, ErrorCode.INVALID_MODEL)
        assert f"of other features than the fit {fit['fit']}" in job.error.detail

    def test_other_weights_are_refused(self, over, fit):
        for wrong in (over.classifier.spec.weights.sha256, over.pinned.sha256):
            job_id = over.enter({"task": "retrain", "fit": fit["fit"], "weights": wrong})
            over.work()
            job = over.job(job_id)
            assert (job.status, job.error.code) == (JobStatus.FAILED, ErrorCode.INVALID_MODEL)
            assert wrong in job.error.detail


class TestDecomposedModel:
    def test_it_is_the_engines_module(self, over, fit, influential, registered):
        version, spec, digest = registered(fit["weights"], fit["n_features"])
        assert version.state == "ready", version.error
        [(inputs, labels)] = over.batches()
        wanted = attribution.decompose(over.classifier.network, influential)(inputs)
        found = build_network(over.context, spec).logits(inputs)
        assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-6)
        identity = ModelIdentity(name="tiny", version="decomposed", sha256=digest)
        report = over.run({"task": "evaluate"}, identity=identity).details["report"]
        assert report["accuracy"] == int((wanted.argmax(1) == labels).sum()) / IMAGES

    def test_retrained_weights_make_one(self, over, fit, registered):
        report = over.run({"task": "retrain", "fit": fit["fit"]}).details["report"]
        version, spec, _ = registered(report["weights"], report["n_features"])
        assert version.state == "ready", version.error
        stored = over.context.store.get(report["weights"])
        wanted = attribution.decomposed_from_bytes(over.classifier.network, stored)
        [(inputs, _)] = over.batches()
        found = build_network(over.context, spec).logits(inputs)
        assert torch.allclose(found, wanted(inputs), rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize(("index", "said"), [(64, "0 to 63"), (-2, "0 to 63"), (None, "twice")])
    def test_wrong_indices_are_refused(self, over, fit, registered, index, said):
        state = load(over.context.store.get(fit["weights"]))
        state["linear.indices"][1, 2] = state["linear.indices"][1, 1] if index is None else index
        version, _, _ = registered(over.context.store.put(save(state)), 4)
        assert version.state == "refused"
        assert said in version.error.detail

    def test_another_number_of_features_is_refused(self, fit, registered):
        version, _, _ = registered(fit["weights"], 5)
        assert version.state == "refused"
        assert "linear.indices" in version.error.detail
        assert "[4, 5]" in version.error.detail or "(4, 5)" in version.error.detail


def test_models_that_differ_in_labels_alone_have_fits_of_their_own(over, fit, registered):
    changed = {"decomposed": None, "labels": ["up", "right", "down", "left"]}
    _, _, digest = registered(over.classifier.spec.weights.sha256, None, "renamed", **changed)
    identity = ModelIdentity(name="tiny", version="renamed", sha256=digest)
    other = over.run(FIT, identity=identity).details["report"]
    for report, model in ((fit, over.classifier.identity.sha256), (other, digest)):
        assert owned(over.context.engine, DEFAULT_TENANT, report["fit"]).details == {"fit_of": model}


class TestExplanation:
    @pytest.fixture
    def explained(self, over, claimed, job_now):
        def run(fit, images, **explanation):
            digests = [over.context.store.put(image) for image in images]
            inputs = [{"image": digest} for digest in digests]
            more = {"quality": explanation.pop("quality", {}), "identity": over.classifier.identity}
            given = {"method": "decomposition", "fit": fit} | explanation
            taken = claimed(given, model="tiny@1", inputs=inputs, max_attempts=1, **more)
            run_jobs(over.context, [taken])
            body = result_of(over.context.engine, DEFAULT_TENANT, taken.job_id)
            return job_now(taken), None if body is None else Result.model_validate(body)

        return run

    @pytest.mark.parametrize("has_maps", [True, False])
    def test_occlusion_follows_a_map_or_says_that_there_is_none(self, over, fit, explained, monkeypatch, has_maps):
        if not has_maps:  # as in a classifier whose last features come from a hidden layer
            monkeypatch.setattr(feature_maps, "_are_maps", lambda *_: False)
        wanted = {"occlusion": {"n_steps": 2, "references": False}, "deletions": {"grid": 2, "references": False}}
        _, result = explained(fit["fit"], list(over.files.values())[:1], quality=wanted)
        assert bool(result.images[0].occlusion) is has_maps
        said = result.quality.missing.get("occlusion")
        assert (said is None) if has_maps else said.startswith("decomposition found no map influential of this model")
        assert bool(result.images[0].deletions) is has_maps
        said = result.quality.missing.get("deletions")
        named = "influential, others or everything"
        assert (said is None) if has_maps else said.startswith(f"decomposition found no map {named} of this model")

    def test_all_features_and_a_class_without_images(self, over, explained):
        fit = over.run(FIT | {"n_initial": 64, "n_features": 64}).details["report"]["fit"]
        job, result = explained(fit, list(over.files.values())[:1], target="all")
        assert job.status == JobStatus.SUCCEEDED, job.error
        shares = {one.target: {feature.frequency for feature in one.features} for one in result.images[0].decomposition}
        without = over.classifier.spec.labels.index("south")
        assert shares.pop(without) == {0.0}
        assert list(shares.values()) == [{1.0}] * 3

    def test_it_is_what_the_engine_finds(self, over, fit, influential, explained):
        images = list(over.files.values())[:2]
        job, result = explained(fit["fit"], images, target={"classes": [1, 0]})
        assert job.status == JobStatus.SUCCEEDED, job.error
        spec = over.classifier.spec
        inputs = torch.stack(
            [preprocess(Image.open(io.BytesIO(one)).convert("RGB"), spec.preprocessing).tensor for one in images]
        )
        target = torch.tensor([[1, 0]] * 2)
        wanted = attribution.decomposition(over.classifier.network, inputs, target, influential)
        for row, image in enumerate(result.images):
            for column, found in enumerate(image.decomposition):
                assert (found.target, found.maps_missing) == (int(target[row, column]), None)
                assert found.logit == pytest.approx(float(wanted.logits[row, column]), rel=1e-5)
                assert found.decomposed_logit == pytest.approx(float(wanted.decomposed_logits[row, column]), rel=1e-4)
                assert [one.index for one in found.features] == wanted.features[row, column].tolist()
                for name, values in (("contribution", wanted.contributions), ("value", wanted.values)):
                    given = [getattr(one, name) for one in found.features]
                    assert given == pytest.approx(values[row, column].tolist(), rel=1e-4), name
                assert [one.place for one in found.features] == wanted.places[row, column].tolist()
                assert [one.frequency for one in found.features] == wanted.frequencies[row, column].tolist()
                files = {file.quantity: file for file in image.artifacts if file.target == found.target}
                read = lambda quantity: io.BytesIO(over.context.store.get(files[quantity].sha256))  # noqa: B023, E731
                for quantity in ("influential", "others", "everything"):
                    whole = getattr(wanted, quantity)[row, column].numpy()
                    assert np.allclose(np.load(read(quantity))[0], whole, rtol=1e-4, atol=1e-6), quantity
                Image.open(read("contributions")).verify()

    def test_classes_without_images_have_no_features(self, over, fit, explained):
        _, result = explained(fit["fit"], list(over.files.values())[:1], target={"classes": [2]})
        [found] = result.images[0].decomposition
        assert (found.features, found.target) == ([], 2)

    def test_a_file_that_is_no_fit_is_told(self, over, fit, explained):
        job, _ = explained(fit["weights"], list(over.files.values())[:1])
        assert job.status == JobStatus.FAILED
        assert "fit" in job.error.detail


def test_a_fit_that_is_gone_from_the_store_says_so(over):
    gone = "0" * 64
    job_id, parts = over.split({"task": "evaluate", "fit": gone, "shard_images": 500})
    run_jobs(over.context, parts)
    over.work()
    job = over.job(job_id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, ErrorCode.CHILDREN_FAILED)
    assert (
        f"{gone} is not in the artefact store of the worker that looked, {over.context.store.url}" in job.error.detail
    )
    assert "run the job that made it again" in job.error.detail
