"""Following a job from a terminal: lines where nobody watches, and Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from attribution_contracts.jobs import Progress
from attribution_contracts.states import JobStatus
from cli.following import _Lines
from tests.attribution_client.tiny_service import job_in
from tests.house.tree import ROOT
from tests.service.house import SELF_TEST, House, picture


def test_lines_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    tell, running = _Lines(), job_in("job-1", JobStatus.RUNNING, 1)
    for done in range(1001):
        tell(running.model_copy(update={"progress": Progress(done=done, total=1000, stage="explain")}))
    tell(job_in("job-1", JobStatus.SUCCEEDED, 9))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "job-1: explain, 0 %"
    assert lines[1] == "job-1: explain, 10 %"
    assert lines[-1] == "job-1: succeeded, 100 %"
    assert len(lines) == 12


class Terminal:
    """A command that follows a job, in a process of its own."""

    def __init__(self, house: House, *words: str) -> None:
        env = {**os.environ, "ATTRIBUTION_URL": str(house.http.base_url)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", *words], cwd=ROOT, env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # Whoever runs the tests may be deaf to Ctrl-C, as what a shell starts in the background is.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - it calls the kernel alone
        )  # fmt: skip

    def until_it_waits(self) -> str:
        """The id of the job whose progress it tells."""
        assert self.process.stderr is not None
        told = ""
        for line in self.process.stderr:
            if line.startswith("job_"):
                return line.partition(":")[0]
            told += line
        raise AssertionError(f"it ended without a word of a job: {told}")

    def interrupted(self) -> tuple[int, str]:
        """What it ends with after Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        _, told = self.process.communicate(timeout=60)
        return self.process.returncode, told


def test_ctrl_c_in_explain_cancels_the_job(house: House, tmp_path: Path) -> None:
    house.add_model()
    image, out = tmp_path / "a.png", tmp_path / "out"
    image.write_bytes(picture())
    terminal = Terminal(house, "explain", str(image), "--model", "digits", "--out", str(out))
    job = terminal.until_it_waits()
    code, told = terminal.interrupted()
    assert code == 130, told
    assert f"{job} is cancelled" in told
    assert "\x1b" not in told
    assert house.http.get(f"/v1/jobs/{job}").json()["status"] == "cancelled"
    assert not out.exists()


def test_ctrl_c_in_watch_leaves_the_job(house: House) -> None:
    job = house.submit(**SELF_TEST).json()["id"]
    terminal = Terminal(house, "jobs", "watch", job)
    assert terminal.until_it_waits() == job
    code, told = terminal.interrupted()
    assert code == 130, told
    assert f"come back with `attribution jobs watch {job}`" in told
    assert house.http.get(f"/v1/jobs/{job}").json()["status"] == "queued"
