"""One command starts everything; one signal stops it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from cli.main import command
from storage.database import open_database
from storage.ledger.jobs import find
from storage.settings import Settings
from storage.tables import DEFAULT_TENANT
from tests.e2e.served import PATIENCE_S, Served, serve, served, still_alive


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("serve") / "data", ATTRIBUTION_REPUBLISH_GRACE_S="0.5") as running:
        yield running


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, entry in group.commands.items():
        yield (*path, name)
        if isinstance(entry, click.Group):
            yield from commands(entry, (*path, name))


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_everything_is_up(tree: Served):
    deadline = time.monotonic() + PATIENCE_S
    while (ready := tree.http.get("/readyz")).json()["status"] != "ready":  # until the worker has shown itself
        assert ready.status_code == 200
        assert time.monotonic() < deadline, ready.text
        time.sleep(0.1)
    assert tree.http.get("/healthz").json() == {"status": "ok"}


def test_a_job_goes_through_the_tree(tree: Served):
    request = {"explanation": {"method": "self_test"}}
    reply = tree.http.post("/v1/jobs", json=request, headers={"Prefer": "wait=30"})
    assert (reply.status_code, reply.json()["status"]) == (200, "succeeded")
    result = tree.http.get(reply.json()["links"]["result"])
    assert (result.status_code, result.json()["kind"]) == (200, "self_test")


def test_the_doctor_finds_nothing_wrong(tree: Served):
    url = str(tree.http.base_url)
    found = run("doctor", "--timeout", "60", ATTRIBUTION_DATA_DIR=str(tree.folder), ATTRIBUTION_URL=url)
    assert found.returncode == 0, found.stdout
    assert {line.split()[0] for line in found.stdout.splitlines()} == {"ok"}


def test_the_doctor_says_what_is_missing(tmp_path):
    found = run("doctor", "--timeout", "0.1", ATTRIBUTION_DATA_DIR=str(tmp_path / "nothing"))
    assert found.returncode == 1
    wrong = [line for line in found.stdout.splitlines() if line.startswith("FAIL")]
    assert any("ledger" in line and "attribution migrate" in line for line in wrong)


def test_a_gateway_that_dies_is_started_again(tree: Served):
    gateway = next(process for process in tree.family() if "gateway" in process.cmdline())
    gateway.kill()
    gateway.wait(PATIENCE_S)
    # The root holds the socket: the connection waits in its backlog for the next gateway.
    job_id = tree.submit()
    assert tree.wait_for(job_id, "succeeded")["attempt"] == 1


def test_a_second_tree_on_the_same_folder_is_refused(tree: Served, tmp_path):
    log = tmp_path / "second.log"
    assert serve(tree.folder, log).wait(PATIENCE_S) == 1
    assert log.read_text().count("\n") == 1
    assert f"{tree.folder} is in use by another `attribution serve`" in log.read_text()
    assert tree.http.get("/readyz").status_code == 200


def test_a_taken_port_is_one_line_and_exit_code_1(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = run("serve", "--port", str(port), "--data-dir", str(tmp_path / "data"))
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (1, "", 1)
    assert f"cannot listen on 127.0.0.1:{port}" in found.stderr
    assert "--port" in found.stderr


@pytest.mark.parametrize("restarted", [False, True], ids=["first worker", "worker started again"])
def test_sigterm_finishes_the_running_job_and_leaves_nothing(tmp_path, restarted: bool):
    with served(tmp_path / "data", ATTRIBUTION_ALLOW_FAULTS="true") as tree:
        if restarted:
            kill_worker(tree)
        job_id = tree.submit(action="sleep", seconds=2)
        tree.wait_for(job_id, "running")
        queued = tree.submit()
        family = tree.family()
        tree.process.terminate()
        assert tree.process.wait(PATIENCE_S) == 0
        assert still_alive(family) == []
    engine = open_database(Settings(data_dir=tmp_path / "data").resolved_database_url)
    job, left = (find(engine, DEFAULT_TENANT, known) for known in (job_id, queued))
    engine.dispose()
    assert (job.status, job.attempt) == ("succeeded", 1)
    assert (left.status, left.attempt) in {("queued", 0), ("succeeded", 1)}


def kill_worker(tree: Served) -> None:
    tree.wait_for(tree.submit(), "succeeded")
    worker = next(process for process in tree.family() if process.cmdline()[-1] == "worker")
    worker.kill()
    worker.wait(PATIENCE_S)


def test_every_command_explains_itself():
    found = run("--help")
    assert found.returncode == 0
    for path in commands(command):
        told = CliRunner().invoke(command, [*path, "--help"])
        assert told.exit_code == 0, told.output
        assert told.output.startswith("Usage: ")
        if len(path) == 1:
            assert path[0] in found.stdout
