"""Settings that cannot work end in a line that says what to do, never in a traceback or a loop."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.explain import explain
from cli.main import command
from cli.tree import child_environment, forget_secrets, secret_files
from storage.database import open_database
from storage.migrate import migrate
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


ENCODE = "characters like @ : / ? # % in a user or password must be percent-encoded"
UNREADABLE = {
    "a slash, an @ and a colon": ("DATABASE_URL", "postgresql+psycopg://attr:x@y:z/1@127.0.0.1:8720/attr", ENCODE),
    "a port in words": ("DATABASE_URL", "postgresql://attr@127.0.0.1:secret/attr", "its port is no number"),
    "a port too high": ("DATABASE_URL", "postgresql://attr@127.0.0.1:99999/attr", "its port is no number"),
    "a bracket": ("DATABASE_URL", "postgresql://attr:sec[ret@127.0.0.1/attr", "cannot be read"),
    "an @": ("DATABASE_URL", "postgresql://attr:secret@secret@127.0.0.1/attr", "_DATABASE_PASSWORD"),
    "a question mark": ("DATABASE_URL", "postgresql://attr:secret?secret@127.0.0.1/attr", ENCODE),
    "a number sign": ("DATABASE_URL", "postgresql://attr:secret#secret@127.0.0.1/attr", ENCODE),
    "a slash too few": ("DATABASE_URL", "sqlite://secret.sqlite", "a slash is missing: expected sqlite:////folder"),
    "a broker's @ and slash": ("BROKER_URL", "redis://:secret@ss/w@127.0.0.1:6390/0", "ATTRIBUTION_BROKER_PASSWORD"),
    "a broker's slash": ("BROKER_URL", "amqp://user:secret/w@127.0.0.1//", ENCODE),
    "a broker's password for a port": ("BROKER_URL", "redis://:secret", "its port is no number"),
    "a store's @": ("ARTIFACT_URL", "sftp://user:secret@secret@host/folder", ENCODE),
    "an option that is none": ("DATABASE_URL", "postgresql://attr:secret@127.0.0.1/attr?ssl=1", "no option 'ssl'"),
    "a kind that is none": ("DATABASE_URL", "user:secret@host://name", "a text without ://"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_url_that_cannot_be_read_is_refused_and_not_repeated(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    setting, url, expected = UNREADABLE[name]
    monkeypatch.setenv(f"ATTRIBUTION_{setting}", url)
    found = subprocess.run([sys.executable, "-m", "cli.main", "migrate"], capture_output=True, text=True, timeout=120)
    assert found.returncode == 2
    assert found.stdout == ""
    [said] = found.stderr.splitlines()
    assert f"ATTRIBUTION_{setting}: " in said
    assert expected in said
    assert not any(part in said for part in ("secret", "127.0.0.1", "x@y", "sec[ret"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("secret", "expected http://host:port or https://host, given a text without ://"),
        ("http://127.0.0.1:secret", "its port is no number"),
        ("http://user:secret/secret@host", "an @, / or the like is not encoded"),
        ("https://", "names no host"),
    ],
)
@pytest.mark.parametrize("words", [("jobs", "list"), ("models", "list"), ("task", "fit", "--model=m", "--dataset=d")])
def test_an_address_of_a_service_that_cannot_be_read(url: str, expected: str, words: tuple[str, ...]) -> None:
    found = CliRunner().invoke(command, list(words), env={"ATTRIBUTION_URL": url}, terminal_width=400)
    assert found.exit_code == 2
    assert expected in found.output
    assert "secret" not in found.output


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ("database_url", "postgresql://us%40er:p%2Fw%25@[::1]:5432/name?connect_timeout=3&sslmode=verify-full"),
        ("database_url", "postgresql:///name"),
        ("database_url", "sqlite:////folder/a@b:c.sqlite"),
        ("broker_url", "redis+socket:///run/a@b.sock"),
        ("broker_url", "amqp://one:a%40b@host:5672//;amqp://two@other//"),
        ("artifact_url", "s3://bucket/a@b:c"),
        ("artifact_url", "/folder/a@b"),
    ],
)
def test_urls_that_can_be_read(setting: str, url: str) -> None:
    given = getattr(Settings(**{setting: url}), setting)
    assert (given if isinstance(given, str) else given.get_secret_value()) == url


WRONG = {
    "ledger without a scheme": ("serve", {"DATABASE_URL": "foo"}, "SQLite and PostgreSQL"),
    "another database": ("serve", {"DATABASE_URL": "mysql://user:secret@host/name"}, "given mysql://"),
    "a ledger in memory": ("serve", {"DATABASE_URL": "sqlite://"}, "not memory"),
    "another broker": ("serve", {"BROKER_URL": "kafka://host"}, "kafka://"),
    "another broker for a worker": ("worker", {"BROKER_URL": "nats://host"}, "expected redis"),
    "another store": ("serve", {"ARTIFACT_URL": "foo://bucket/x"}, "foo://"),
    "a store that is not there": ("serve", {"ARTIFACT_URL": "ftp://127.0.0.1:1/x"}, "ftp://127.0.0.1:1/x cannot be"),
    "a folder that cannot be made": ("migrate", {"DATA_DIR": "/proc/nope"}, "ATTRIBUTION_DATA_DIR (or ATTRIBUTION_DA"),
    "a worker alone": ("worker", {}, "ATTRIBUTION_BROKER_URL"),
    "a reconciler alone": ("reconcile", {}, "ATTRIBUTION_BROKER_URL"),
    "a method that is none": (
        "serve",
        {"DISABLED_METHODS": "lrp, lpr"},
        "no method is called lpr: expected some of activation_maps, attention",
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


@pytest.mark.parametrize("command", ["serve", "gateway"])
def test_a_port_that_is_taken(command: str, tmp_path: Path) -> None:
    migrate(open_database(f"sqlite:///{tmp_path}/data/ledger.sqlite"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = told(command, tmp_path, PORT=str(port))
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in said
    assert "choose another with --port" in said


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
    assert "cam, decomposition, deconvolution, feature_visualization, first_layer_filters, guided_backprop" in shown
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
