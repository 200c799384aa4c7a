"""Folders that are numbers, and a model whose classes have none of those names: nobody guesses an order."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from tests.workers.own_networks import SIZE
from tests.workers.sources import zipped


def level(value, seed):
    dice = np.random.default_rng(seed)
    buffer = io.BytesIO()
    Image.fromarray((value + dice.integers(-3, 4, (SIZE, SIZE))).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def folders(names):
    """Two images a class, as bright as its number says."""
    return zipped({f"{name}/{n}.png": level(10 + 15 * int(name), n) for name in names for n in range(2)})


def by_level(order):
    """Right on every image, its classes in an order of the numbers."""
    values = torch.tensor([(10 + 15 * int(name)) / 255 for name in order])
    return save({"fc.weight": (800 * values)[:, None].contiguous(), "fc.bias": -400 * values**2})


NAMES = {11: [str(n) for n in range(11)], 12: [str(n) for n in range(12)], 16: [str(n) for n in range(16)]}


def registered(through, name, order, **changes):
    preprocessing = {"color": "grey", "size": [SIZE, SIZE]}
    options = {"num_classes": len(order)}
    through.ready(name, "factory:brightness", by_level(order), options=options, preprocessing=preprocessing, **changes)


def evaluated(through, model, **fields):
    task = {"task": "evaluate"} | fields
    job, result = through.ended(through.submit(model=model, dataset="levels", task=task))
    assert job["status"] == "succeeded", job["error"]
    return result["details"]["report"]["accuracy"]


@pytest.mark.parametrize("count", NAMES)
def test_the_report_warns_and_the_task_asks(through, count):
    names = NAMES[count]
    found = through.add_dataset("levels", folders(names))
    assert any(f"the {count} labels are numbers and listed by value" in one for one in found["report"]["warnings"])
    registered(through, "text", sorted(names))
    registered(through, "value", names)
    registered(through, "named", sorted(names), labels=sorted(names))
    for model in ("text", "value"):
        answer = through.submit(model=model, dataset="levels", task={"task": "evaluate"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_option")
        [error] = answer.json()["errors"]
        assert error["pointer"] == "/task/order"
        assert '"value"' in error["detail"]
        assert '"text"' in error["detail"]
        assert evaluated(through, model, order=model) == 1.0
        other = {"text": "value", "value": "text"}[model]
        assert evaluated(through, model, order=other) < 0.7
    assert evaluated(through, "named") == 1.0


@pytest.mark.parametrize("names", [NAMES[12][:10], [f"{n:02}" for n in range(12)]])
def test_where_there_is_one_order_nothing_is_asked(through, names):
    found = through.add_dataset("levels", folders(names))
    assert found["report"]["warnings"] == []
    registered(through, "m", sorted(names))
    assert evaluated(through, "m") == 1.0


def test_a_fit_and_a_sweep_ask_as_well(through):
    through.add_dataset("levels", folders(NAMES[11]))
    registered(through, "m", sorted(NAMES[11]))
    for task in ({"task": "fit", "n_initial": 1}, {"task": "sweep", "n_initial": [1], "n_features": [1]}):
        answer = through.submit(model="m", dataset="levels", task=task)
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/task/order"]
        job, _ = through.ended(through.submit(model="m", dataset="levels", task=task | {"order": "text"}))
        assert job["status"] == "succeeded", job["error"]
