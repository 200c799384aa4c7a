"""Principal components over a data set: parts against one pass by scikit-learn, the table, and the page."""

import csv
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load
from sklearn.decomposition import PCA

from attribution.data_sets import principal
from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import JobStatus
from tests.workers.data_sets import COUNTS
from tests.workers.tasks.test_maximal_patches import values_of

TASK = {"task": "representation_pca", "layer": "layer3.0.conv1", "n_components": 3}
IMAGES = sum(COUNTS)


@pytest.mark.parametrize(("form", "size"), [("mean", 5), ("mean", 500), ("flat", 9)])
def test_it_is_what_one_pass_finds(over, form, size):
    result = over.run(TASK | {"representation": form, "shard_images": size})
    report = result.details["report"]
    values = values_of(over, TASK["layer"]).double()
    vectors = (values.mean((2, 3)) if form == "mean" else values.flatten(1)).numpy()
    peer = PCA(3, svd_solver="full").fit(vectors)
    assert report["explained"] == pytest.approx(peer.explained_variance_ratio_.tolist(), rel=1e-4)
    assert (report["images"], report["width"]) == (IMAGES, vectors.shape[1])
    assert 1 <= report["half"] <= report["most"] <= IMAGES
    kept = load(over.content(result, "components"))
    signs = np.sign((kept["components"].numpy() * peer.components_).sum(1))
    wanted = peer.transform(vectors) * signs
    rows = list(csv.DictReader(io.StringIO(over.content(result, "coordinates").decode())))
    found = np.array([[float(row[f"pc{number}"]) for number in (1, 2, 3)] for row in rows])
    assert np.allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    logits = over.classifier.network.logits(over.batches()[0][0])
    assert [row["image"] for row in rows] == list(over.files)
    assert [int(row["prediction"]) for row in rows] == logits.argmax(1).tolist()
    assert [float(row["probability"]) for row in rows] == pytest.approx(logits.softmax(1).amax(1).tolist(), rel=1e-3)
    assert all((row["label"] == row["prediction"]) == (row["right"] == "1") for row in rows)
    assert all(row["label_name"] == row["image"].partition("/")[0] for row in rows)
    for chart in ("scatter", "scree"):
        Image.open(io.BytesIO(over.content(result, chart))).verify()


@pytest.mark.parametrize("color", ["prediction", "probability", "right"])
def test_the_page_holds_all_that_it_shows(over, color):
    result = over.run(TASK | {"color": color, "n_pictures": 4, "layer": "last"})
    page = over.content(result, "points_html").decode()
    assert not re.search(r"(src|href)=[\"']?https?:", page)
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert (data["color"], len(data["names"]), len(data["places"])) == (color, IMAGES, 3)
    assert sum(picture is not None for picture in data["pictures"]) == 4
    assert all(len(axis) == IMAGES for axis in data["places"])
    assert "4 have a picture here" in page


def test_names_end_no_script(over):
    from workers.drawing.points import Points, points_page

    points = Points(
        torch.zeros(1, 2), torch.tensor([0]), torch.tensor([0]), torch.ones(1), ["</script><b>.png"], ["<i>"]
    )
    page = points_page(points, "<u>", "label", [0.5, 0.5], []).content.decode()
    assert "</script><b>" not in page
    assert "<u>" not in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert (data["names"], data["classes"]) == (["</script><b>.png"], {"0": "<i>"})


def test_too_wide_is_told(over, monkeypatch):
    monkeypatch.setattr(principal, "WIDEST", 100)
    job_id = over.enter({"task": "representation_pca", "layer": "layer1.0.relu2", "representation": "flat"})
    over.work()
    job = over.job(job_id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, ErrorCode.CHILDREN_FAILED)
    assert "take the mean of each feature map" in job.error.detail
