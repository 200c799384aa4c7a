"""The guide of the client keeps up with the client, and its examples run."""

import inspect
import re
from pathlib import Path

import pytest

import attribution_client as package
from attribution_client import Client
from attribution_contracts.states import JobStatus

GUIDE = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.S)


@pytest.mark.parametrize("name", [name for name, _ in inspect.getmembers(Client, inspect.isfunction) if name[0] != "_"])
def test_every_method_is_in_the_guide(name):
    if name != "close":
        assert f"`{name}(" in GUIDE or f" `{name}(" in GUIDE


@pytest.mark.parametrize("name", package.__all__)
def test_every_public_name_is_in_the_guide(name):
    assert f"`{name}" in GUIDE or f"import {name}" in GUIDE


def test_keywords_in_the_guide_exist():
    for name, given in re.findall(r"`(\w+)\(([^`]*)\)`", GUIDE):
        owner = Client if name == "Client" else getattr(Client, name, None)
        parameters = inspect.signature(owner).parameters if owner else {}
        free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        for keyword in re.findall(r"(\w+)=", given):
            assert free or keyword in parameters, f"{name} takes no {keyword}"


def test_the_examples_run(service, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("seven.png", "one.png"):
        Path(name).write_bytes(name.encode())
    service.add_result("job-0", {"a.png": b"a heatmap"})
    assert len(EXAMPLES) == 3  # the third one reads a real result, in tests/e2e
    with Client(service.url) as client:
        first = EXAMPLES[0].replace("http://127.0.0.1:8000", service.url)
        names: dict[str, object] = {}
        service.next_job = service.add_job(JobStatus.QUEUED, JobStatus.SUCCEEDED)
        exec(first, names)
        assert names["picture"] == b"a heatmap"
        assert (tmp_path / "explanation" / "a.png").read_bytes() == b"a heatmap"
        assert "succeeded" in capsys.readouterr().out
        exec(EXAMPLES[1], {"client": client})
    assert service.bodies[-1]["one"] == b"one.png"
