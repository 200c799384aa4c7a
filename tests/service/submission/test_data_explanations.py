"""The explanation of a data set: what is settled, priced and refused before a worker sees it."""

from typing import Any

import pytest

from attribution_contracts.states import JobKind
from attribution_contracts.tasks.explain import MOST_PART_BYTES, ExplainTask
from attribution_contracts.tasks.jobs import DataJob
from tests.service.house import House
from tests.service.submission.test_tasks import add_dataset, ready, submitted

__all__ = ["ready"]

TASK = {"task": "explain", "explanation": {"method": "integrated_gradients", "n_steps": 8}}
DIGEST = "0" * 64


def explaining(house: House, **changes: Any) -> ExplainTask:
    """The task as workers get it."""
    claimed = house.claim() if submitted(house, task=TASK | changes).status_code == 202 else None
    assert claimed is not None
    task = DataJob.model_validate(claimed.resolved).task
    assert isinstance(task, ExplainTask)
    return task


def test_it_is_a_job_of_the_method_and_of_a_kind_of_its_own(ready: House) -> None:
    job = submitted(ready, task=TASK).json()
    assert (job["kind"], job["method"]) == (JobKind.EXPLAIN_DATA_SET, "integrated_gradients")


def test_its_cost_is_that_of_one_image_times_all(ready: House) -> None:
    add_dataset(ready, "seven", name="lonely", images=1)
    one, all_of_them = (submitted(ready, dataset=name, task=TASK).json()["cost"] for name in ("lonely", "flowers"))
    assert all_of_them["passes_at_most"] == 30 * one["passes_at_most"] > 0
    measured = submitted(ready, task=TASK | {"quality": {"deletions": {"grid": 3}}}).json()["cost"]
    assert measured["passes"] > all_of_them["passes"]


def test_classes_are_named_by_index_for_workers(house: House) -> None:
    house.add_model(labels=[f"digit {index}" for index in range(10)])
    add_dataset(house, "digit 7", "digit 1")
    target = {"classes": ["digit 7"], "against": "digit 1"}
    task = explaining(house, explanation=TASK["explanation"] | {"target": target})
    assert task.explanation.target.model_dump() == {"classes": [7], "against": 1}


def test_parts_are_as_large_as_fits_into_memory_unless_told(ready: House) -> None:
    assert explaining(ready).shard_images == 500
    layers = {"method": "integrated_gradients", "target": "all"}
    task = explaining(ready, explanation=layers, maps="channels")
    assert task.shard_images == min(500, MOST_PART_BYTES // (10 * 4 * 28 * 28))


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"explanation": {"method": "first_layer_filters"}}, "/task", "makes no maps of images"),
        ({"explanation": {"method": "self_test"}}, "/task", "makes no maps of images"),
        ({"explanation": {"method": "lrpp"}}, "/task/explanation", "lrp"),
        ({"explanation": {"method": "lrp", "target": {"classes": [10]}}}, "/task/explanation/target/classes/0", "10"),
        ({"explanation": {"method": "cam", "layers": ["nowhere"]}}, "/task/explanation/layers/0", "nowhere"),
        (
            {"explanation": {"method": "integrated_gradients", "baselines": [{"kind": "set", "name": "photos"}]}},
            "/task/explanation/baselines/0/name",
            "photos",
        ),
        (
            {
                "explanation": {
                    "method": "integrated_gradients",
                    "baselines": [{"kind": "image", "image": {"image": DIGEST}}],
                }
            },
            "/task/explanation/baselines/0",
            "a set that the model was registered with",
        ),
        ({"explanation": {"method": "decomposition", "fit": DIGEST}}, "/task/explanation/fit", "no fit"),
        ({"quality": {"deletions": {"grid": 16, "quantity": "nothing"}}}, "/task", "nothing"),
        ({"ranked_by": "deletions"}, "/task", "quality.deletions"),
        ({"heatmaps": True, "maps": "none"}, "/task", "keep them"),
        ({"shard_images": 100_000}, "/task/shard_images", "ask for parts of at most"),
        ({"side": 17}, "/task/side", "16"),
    ],
)
def test_what_is_refused(ready: House, change: dict[str, Any], pointer: str, said: str) -> None:
    answer = submitted(ready, task=TASK | change)
    assert answer.status_code == 422, answer.text
    errors = answer.json()["errors"]
    assert any(error["pointer"].startswith(pointer) and said in error["detail"] for error in errors), errors


def test_quality_and_render_beside_a_task_are_refused(ready: House) -> None:
    answer = submitted(ready, task=TASK, quality={"deletions": {}})
    assert "explain has a quality within it" in answer.text
