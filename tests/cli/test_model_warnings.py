"""What a worker's check let pass is said wherever somebody relies on the model."""

from pathlib import Path

import pytest

from attribution_contracts.models import MeasuredCheck
from storage.ledger import claims
from tests.cli.conftest import Run
from tests.service.house import House, report_of, result_of
from tests.service.submission.test_tasks import add_dataset

DETAIL = "mean [123.7] looks as if it were meant for pixels in 0..255"
MODEL = {"architecture": "torchvision:resnet18", "weights": {"torchvision": "IMAGENET1K_V1"}, "labels": []}


@pytest.fixture
def warned(house: House) -> House:
    """A gateway with a model whose check noted something."""
    noted = MeasuredCheck(name="mean", figure=123.7, bound=1.5, verdict="noted", detail=DETAIL)
    house.add_model(report=report_of(10).model_copy(update={"checks": [noted], "warnings": [DETAIL]}), **MODEL)
    return house


def test_where_it_is_registered(warned: House, run: Run, tmp_path: Path) -> None:
    size, color = warned.http.get("/v1/models/digits").json()["preprocessing"]["size"], "grey"
    words = ("--architecture", MODEL["architecture"], "--torchvision-weights", "IMAGENET1K_V1", "--color", color)
    found = run("models", "add", "digits", *words, "--size", *map(str, size))
    assert found.exit_code == 0, found.output
    assert "digits@1 is ready, 10 classes" in found.stdout
    assert found.stderr.count(f"warning: {DETAIL}") == 1

    config = tmp_path / "attribution.toml"
    config.write_text(
        f'[[models]]\nname = "digits"\narchitecture = "{MODEL["architecture"]}"\n'
        f'weights = {{ torchvision = "IMAGENET1K_V1" }}\npreprocessing = {{ color = "{color}", size = {size} }}\n'
    )
    found = run("models", "sync", "--config", str(config))
    assert found.exit_code == 0, found.output
    assert found.stdout == "digits@1: ready\n"
    assert found.stderr.count(f"warning: {DETAIL}") == 1


def test_before_the_table_of_a_task(warned: House, run: Run, tmp_path: Path) -> None:
    add_dataset(warned, *"0123456789")
    warned.submit(model="digits", dataset="flowers", task={"task": "evaluate"})
    claimed = warned.claim()
    body = result_of(claimed, {}).model_copy(update={"details": {"report": {"accuracy": 0.5}}})
    warned.finish(claimed, claims.Succeeded(body.model_dump(mode="json")))

    words = ("--model", "digits", "--dataset", "flowers", "--out", str(tmp_path / "out"))
    found = run("task", "evaluate", *words)
    assert found.exit_code == 0, found.output
    assert found.output.index(f"warning: {DETAIL}") < found.output.index("accuracy:")


def test_the_whole_preprocessing_is_shown_also_where_it_is_the_default(house: House, run: Run) -> None:
    house.add_model()
    found = run("models", "show", "digits")
    assert found.exit_code == 0, found.output
    [line] = [line for line in found.output.splitlines() if line.startswith("preprocessing")]
    for word in ("grey 28x28", "interpolation ", "mean ", "std "):
        assert word in line
