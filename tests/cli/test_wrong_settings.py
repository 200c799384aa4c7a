"""Settings that cannot work end in a line that says what to do, never in a traceback or a loop."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.explain import explain
from cli.tree import child_environment, forget_secrets, secret_files
from storage.settings import Settings


def told(command: str, folder: Path, **settings: str) -> str:
    """What a command says on its way out, which must be short."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ATTRIBUTION_")}
    given = {"DATA_DIR": str(folder / "data"), "PORT": "0", "PRELOAD": "false"} | settings
    environment |= {f"ATTRIBUTION_{name}": value for name, value in given.items()}
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", command], env=environment, capture_output=True, text=True, timeout=120
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode in (1, 2)
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 4
    return said


WRONG = {
    "ledger without a scheme": ("serve", {"DATABASE_URL": "foo"}, "SQLite and PostgreSQL"),
    "another database": ("serve", {"DATABASE_URL": "mysql://user:secret@host/name"}, "given mysql://"),
    "a ledger in memory": ("serve", {"DATABASE_URL": "sqlite://"}, "not memory"),
    "another broker": ("serve", {"BROKER_URL": "kafka://host"}, "kafka://"),
    "another broker for a worker": ("worker", {"BROKER_URL": "nats://host"}, "expected redis"),
    "another store": ("serve", {"ARTIFACT_URL": "foo://bucket/x"}, "foo://"),
    "a worker alone": ("worker", {}, "ATTRIBUTION_BROKER_URL"),
    "a reconciler alone": ("reconcile", {}, "ATTRIBUTION_BROKER_URL"),
    "a method that is none": (
        "serve",
        {"DISABLED_METHODS": "lrp, lpr"},
        "no method is called lpr: expected some of cam",
    ),
    "a method that is none, for a worker": ("worker", {"DISABLED_METHODS": "lpr"}, "no method is called lpr"),
    "a port that is none": ("serve", {"PORT": "99999"}, "ATTRIBUTION_PORT: "),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_line_says_what_to_do(name: str, tmp_path: Path) -> None:
    command, settings, expected = WRONG[name]
    said = told(command, tmp_path, **settings)
    assert expected in said
    assert "secret" not in said


@pytest.mark.parametrize("below", ["", "x", "x/y"])
def test_a_folder_that_is_a_file(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    assert "is a file, expected a folder" in told("serve", tmp_path, DATA_DIR=str(tmp_path / "file" / below))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    assert "the data folder /proc/x cannot be made or written" in told("serve", tmp_path, DATA_DIR="/proc/x")


def test_a_store_that_does_not_answer(tmp_path: Path) -> None:
    pytest.importorskip("s3fs")
    settings = {
        "ARTIFACT_URL": "s3://bucket/x",
        "DATABASE_URL": f"sqlite:///{tmp_path}/ledger.sqlite",
    }
    os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    try:
        assert "the artefact store s3://bucket/x cannot be used" in told("serve", tmp_path, **settings)
    finally:
        del os.environ["AWS_ENDPOINT_URL"]


def test_a_worker_says_what_it_works_with_and_misses(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    (tmp_path / "attribution.toml").write_text('[factories]\nmine = "not_there.networks:mine"\n')
    settings = {"BROKER_URL": "redis://:swordfish@127.0.0.1:1/0", "CONFIG_FILE": f"{tmp_path}/attribution.toml"}
    places, factory, error = told("worker", tmp_path, DEVICE="cuda", **settings).splitlines()
    assert places.endswith(
        f"a worker with ledger SQLite {tmp_path}/data/ledger.sqlite, artefact store {tmp_path}/data/artifacts, "
        "broker redis://127.0.0.1:1/0"
    )
    assert "WARNING" in factory
    assert "the factory 'mine' cannot be imported here: there is no module 'not_there'; the PYTHONPATH " in factory
    assert "torch sees no GPU: use auto or cpu" in error


def test_a_device_that_is_none(tmp_path: Path) -> None:
    said = told("worker", tmp_path, DEVICE="gpu", BROKER_URL="redis://127.0.0.1:1/0")
    assert "ATTRIBUTION_DEVICE: expected auto, cpu, cuda or cuda:<number> (given: 'gpu')" in said


def test_a_list_reaches_the_processes_of_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTRIBUTION_DISABLED_METHODS", " lrp,deeplift , lrp")
    settings = Settings(data_dir=tmp_path)
    assert settings.disabled_methods == ("lrp", "deeplift")
    handed = child_environment(settings, tmp_path)["ATTRIBUTION_DISABLED_METHODS"]
    monkeypatch.setenv("ATTRIBUTION_DISABLED_METHODS", handed)
    assert Settings(data_dir=tmp_path).disabled_methods == ("lrp", "deeplift")
    monkeypatch.setenv("ATTRIBUTION_DISABLED_METHODS", "")
    assert Settings(data_dir=tmp_path).disabled_methods == ()


def test_the_help_of_explain_names_the_methods_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTRIBUTION_DISABLED_METHODS", "lrp,deeplift")
    shown = " ".join(CliRunner().invoke(explain, ["--help"], terminal_width=200).output.split())
    assert "cam, decomposition, deconvolution, guided_backprop, input_x_gradient" in shown
    assert "lrp" not in shown


def test_secrets_reach_the_processes_of_the_tree_as_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTRIBUTION_DATABASE_URL", "postgresql://user@host/name")
    monkeypatch.setenv("ATTRIBUTION_DATABASE_PASSWORD", "tr0ub4dor")
    settings = Settings(data_dir=tmp_path / "data")
    with secret_files(settings) as folder:
        environment = child_environment(settings, folder)
        assert not any("tr0ub4dor" in value for value in environment.values())
        assert folder.stat().st_mode & 0o077 == 0
        assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir())
        for name in [name for name in os.environ if name.startswith("ATTRIBUTION_")]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            if name.startswith("ATTRIBUTION_"):
                monkeypatch.setenv(name, value)
        assert Settings().resolved_database_url == "postgresql://user:tr0ub4dor@host/name"
    assert not folder.exists()


def test_secrets_of_a_tree_that_was_killed_go_with_the_next(tmp_path):
    settings = Settings(data_dir=tmp_path)
    left = tmp_path / ".secrets-of-another"
    left.mkdir()
    (left / "attribution_broker_password").write_text("swordfish")
    forget_secrets(settings)
    assert list(tmp_path.iterdir()) == []
    with secret_files(settings) as first, secret_files(settings) as second:
        assert {first.exists(), second.exists()} == {True}
    assert list(tmp_path.iterdir()) == []
