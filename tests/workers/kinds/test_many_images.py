"""A job of as many images as are allowed, some broken and most of them several times over."""

import base64
import hashlib

import pytest
import torch

from tests.workers import own_networks
from tests.workers.through_http import picture, weights_of

CUT = picture(kind="JPEG")[:400]


@pytest.fixture
def ready(through):
    torch.manual_seed(0)
    through.ready("m", "factory:small", weights_of(own_networks.small()))
    through.context.settings = through.context.settings.model_copy(update={"batch_images": 64})
    return through


def asked(contents):
    inputs = [
        {"data": base64.b64encode(content).decode(), "custom_id": f"id-{index % 4}"}
        for index, content in enumerate(contents)
    ]
    explanation = {"method": "integrated_gradients", "n_steps": 1}
    return {"model": "m", "inputs": inputs, "explanation": explanation, "render": {"overlay": "none"}}


def test_order_names_counts_and_digests(ready):
    good = [picture(seed) for seed in range(6)]
    contents = [CUT if index in (3, 200) else good[index % 6] for index in range(256)]
    job, result = ready.ended(ready.submit(**asked(contents)))
    images = result["images"]
    assert [image["index"] for image in images] == list(range(256))
    assert [image["custom_id"] for image in images] == [f"id-{index % 4}" for index in range(256)]
    assert [image["sha256"] for image in images] == [hashlib.sha256(content).hexdigest() for content in contents]
    assert result["counts"] == {"images": 256, "succeeded": 254, "failed": 2}
    assert [index for index, image in enumerate(images) if image["error"]] == [3, 200]
    names = [file["name"] for image in images for file in image["artifacts"]]
    assert len(set(names)) == len(names) >= 254
    for image in images:
        assert all(file["image"] == image["index"] for file in image["artifacts"])
    for first, again in ((0, 6), (1, 253), (5, 65)):
        maps = [
            {file["sha256"] for file in images[at]["artifacts"] if file["name"].endswith(".npy")}
            for at in (first, again)
        ]
        assert maps[0] == maps[1]
    assert "NaN" not in ready.http.get(job["links"]["result"]).text


def test_one_more_is_refused(ready):
    answer = ready.submit(**asked([picture()] * 257))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "at most 256" in answer.json()["detail"]


def test_files_outlive_the_job_that_made_them_where_another_has_them(ready):
    request = asked([picture(), picture(1), CUT])
    first, _ = ready.ended(ready.submit(**request))
    twin, result = ready.ended(ready.submit(**request))
    assert (first["cached"], twin["cached"]) == (False, True)
    assert ready.http.delete(f"/v1/jobs/{first['id']}").status_code == 204
    files = [file for image in result["images"] for file in image["artifacts"]]
    assert {ready.http.get(file["href"]).status_code for file in files} == {200}
    assert ready.http.get(twin["links"]["result"]).json() == result
