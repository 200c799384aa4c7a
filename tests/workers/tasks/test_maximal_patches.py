"""Maximal patches over a data set: what is reported against hooks and gradients, and the pictures."""

import io

import pytest
import torch
from PIL import Image

from attribution.data_sets.extremes import extremes
from attribution.networks.receptive_fields import ReceptiveFields
from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import JobStatus
from tests.workers.data_sets import COUNTS

TASK = {"task": "maximal_patches"}
IMAGES = sum(COUNTS)


def values_of(over, layer):
    kept = []
    module = over.classifier.network.module.get_submodule(layer)
    handle = module.register_forward_hook(lambda *given: kept.append(given[2].clone()))
    with torch.no_grad():
        over.classifier.network.module(over.batches()[0][0])
    handle.remove()
    return kept[0]


@pytest.fixture(scope="module")
def layer():
    return "layer2.0.conv1"


@pytest.mark.parametrize("size", [5, 500])
def test_it_is_what_hooks_see(over, layer, size):
    task = TASK | {"layer": layer, "channels": [3, 0], "n_images": 4, "shard_images": size}
    result = over.run(task)
    report = result.details["report"]
    wanted = extremes(values_of(over, layer), range(IMAGES), 4)
    names, labels = list(over.files), over.classifier.spec.labels
    assert (report["layer"], report["images"], report["beside"]) == (layer, IMAGES, "lrp")
    assert [one["channel"] for one in report["channels"]] == [3, 0]
    width = wanted.sizes[1]
    fields = ReceptiveFields(over.classifier.network, layer)
    for one in report["channels"]:
        channel = one["channel"]
        assert one["mean"] == pytest.approx(float(wanted.mean[channel]), rel=1e-4)
        assert one["std"] == pytest.approx(float(wanted.std[channel]), rel=1e-4)
        for side in ("most", "least"):
            ranking = getattr(wanted, side)
            assert [patch["image"] for patch in one[side]] == [names[at] for at in ranking.positions[channel].tolist()]
            assert [patch["value"] for patch in one[side]] == pytest.approx(ranking.values[channel].tolist(), rel=1e-4)
            for patch, place in zip(one[side], ranking.places[channel].tolist(), strict=True):
                assert (patch["row"], patch["column"]) == divmod(place, width)
                assert tuple(patch["window"]) == fields.of(patch["row"], patch["column"])
                assert patch["name"] == labels[patch["label"]] == patch["image"].partition("/")[0]
    files = [(file.quantity, file.name) for file in result.artifacts]
    assert files == [
        ("patches", "patches.png"),
        ("channel_patches", "channel-3.png"),
        ("channel_patches", "channel-0.png"),
    ]
    for file in result.artifacts:
        Image.open(io.BytesIO(over.context.store.get(file.sha256))).verify()


@pytest.mark.parametrize(
    ("options", "beside"),
    [
        ({}, "lrp"),
        ({"measure": "mean", "beside": "none"}, None),
        ({"measure": "absolute", "beside": "deconvolution", "n_images": 25}, "deconvolution"),
        ({"layer": "linear", "n_channels": 2, "beside": "guided_backprop"}, "guided_backprop"),
    ],
)
def test_other_layers_and_measures(over, options, beside):
    report = over.run(TASK | options).details["report"]
    assert report["beside"] == beside
    assert 0 < len(report["channels"]) <= options.get("n_channels", 9)
    assert len(report["channels"][0]["most"]) == min(options.get("n_images", 9), IMAGES)
    assert report["warnings"] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [({"layer": "nowhere"}, "no layer's name"), ({"layer": "conv1", "channels": [99]}, "channels 0 to")],
)
def test_what_the_layer_lacks_is_told(over, options, said):
    job_id = over.enter(TASK | options)
    over.work()
    job = over.job(job_id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, ErrorCode.CHILDREN_FAILED)
    assert said in job.error.detail
