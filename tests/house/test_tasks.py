"""A task over a data set is complete: kind, procedure, command line and documentation."""

from typing import get_args

import pytest

from attribution_contracts.states import DATA_KINDS, JobKind
from attribution_contracts.tasks.jobs import Task
from cli.task import TASKS as COMMANDS
from tests.house.tree import ROOT
from workers.kinds.task import TASKS

MODELS = {get_args(model.model_fields["task"].annotation)[0]: model for model in get_args(get_args(Task)[0])}
OF_THEIR_OWN = sorted(name for name, model in MODELS.items() if model.belongs_to == name)


def test_every_table_has_every_task():
    assert set(MODELS) == set(TASKS) == set(COMMANDS)
    assert {model.kind or JobKind(name) for name, model in MODELS.items()} == set(DATA_KINDS)


@pytest.mark.parametrize("name", OF_THEIR_OWN)
def test_a_task_with_a_page_explains_every_parameter(name):
    page = (ROOT / "docs" / "methods" / f"{name}.md").read_text()
    missing = [field for field in MODELS[name].model_fields if f"`{field}`" not in page]
    assert not missing, f"docs/methods/{name}.md does not explain {', '.join(missing)}"
    assert f"(docs/methods/{name}.md)" in (ROOT / "README.md").read_text()
    assert f"(methods/{name}.md)" in (ROOT / "docs" / "datasets.md").read_text()
