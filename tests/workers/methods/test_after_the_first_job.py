"""What is worked out of a network for one job is there for the next."""

import pytest
import torch

from attribution.multiclass import directions
from tests.workers import own_networks
from tests.workers.through_http import picture, weights_of

SKETCH = {"method": "multiclass_importance", "mode": "sketch"}


@pytest.fixture
def found(through, monkeypatch):
    """The classes whose directions were worked out, one entry each time."""
    torch.manual_seed(0)
    content = weights_of(own_networks.small(12))
    for name in ("m", "other"):
        labels = [f"{name} {index}" for index in range(12)]
        through.ready(name, "factory:small", content, options={"num_classes": 12}, labels=labels)
    seen, spanning = [], directions._spanning

    def told(head, chosen, n_classes):
        seen.append(len(chosen))
        return spanning(head, chosen, n_classes)

    monkeypatch.setattr(directions, "_spanning", told)
    return seen


def explain(through, model, seed, **options):
    job, _ = through.explain(model, picture(seed), **SKETCH | options)
    assert (job["status"], job["cached"]) == ("succeeded", False), job["error"]


def test_directions_are_found_once_for_all_jobs(through, found):
    explain(through, "m", 0)
    assert len(found) == 1
    explain(through, "m", 1)
    explain(through, "m", 2, n_directions=2, n_signs=3)
    assert len(found) == 1


def test_another_network_or_choice_has_its_own(through, found):
    explain(through, "m", 0)
    explain(through, "m", 1, classes={"classes": [1, 3, 5]})
    explain(through, "m", 2, classes={"classes": [1, 3, 5]})
    assert found == [12, 3]
    explain(through, "other", 0)
    assert found == [12, 3, 12]


def test_the_network_is_built_once(through, found):
    for seed in range(3):
        explain(through, "m", seed)
    counts = through.context.models.counts
    assert (counts.misses, counts.hits) == (1, 2)


def test_a_fresh_answer_equals_the_first(through, found):
    results = []
    for name in ("m", "other", "m"):
        body = {"model": name, "inputs": [{"image": uploaded(through)}], "explanation": SKETCH}
        answer = through.http.post("/v1/jobs", json=body, headers={"Cache-Control": "no-cache"})
        results.append(through.ended(answer)[1]["images"][0]["artifacts"])
    assert [file["sha256"] for file in results[0]] == [file["sha256"] for file in results[2]]
    assert [file["sha256"] for file in results[0]] == [file["sha256"] for file in results[1]]


def uploaded(through):
    answer = through.http.post("/v1/images", content=picture(), headers={"content-type": "image/png"})
    return answer.json()["sha256"]
