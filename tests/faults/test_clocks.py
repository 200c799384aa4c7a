"""Wrong clocks: reconcilers an hour ahead and an hour behind leave healthy jobs alone, and bring back lost ones."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.tree import child_environment, secret_files
from storage.broker.child import dying_with_parent
from tests.faults.house import House, open_house

SHIFTED = """
import sys, time
right, shift_s = time.time, float(sys.argv.pop(1))
time.time = lambda: right() + shift_s
from cli.main import main
main()
"""
LEASE_S = 1.5


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Two workers whose only reconcilers have clocks that are wrong."""
    with open_house(tmp_path, lease_s=LEASE_S, max_attempts=1) as house:
        house.start(workers=2, reconcilers=0)
        with secret_files(house.settings) as secrets:
            environment = child_environment(house.settings, secrets)
            wrong = [
                subprocess.Popen(
                    [sys.executable, "-c", SHIFTED, str(shift_s), "reconcile"],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    preexec_fn=dying_with_parent(signal.SIGKILL),  # noqa: PLW1509 - it calls the kernel alone
                )
                for shift_s in (3600.0, -3600.0)
            ]
            yield house
            assert [one.poll() for one in wrong] == [None, None]
            for one in wrong:
                one.kill()
                one.wait()


def test_a_healthy_job_keeps_its_worker_and_a_lost_one_comes_back(
    house: House, size: Callable[[int, int], int], capsys: pytest.CaptureFixture[str]
) -> None:
    healthy = [house.submit("sleep", seconds=4 * LEASE_S, max_attempts=1) for _ in range(size(2, 20))]
    rows = house.finish(healthy)
    assert {(row["status"], row["attempt"]) for row in rows} == {("succeeded", 1)}
    lost = house.submit("sleep", seconds=1.0, max_attempts=2)
    worker, _ = house.runner(lost)
    worker.send(signal.SIGKILL)
    [back] = house.finish([lost])
    assert (back["status"], back["attempt"]) == ("succeeded", 2)
    with capsys.disabled():
        figures = {"test": "clocks", "shifts_s": [3600, -3600], "healthy": len(healthy), "lost": 1, "failed": 0}
        print("\n" + json.dumps(figures))
