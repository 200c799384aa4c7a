"""Workers are killed at random and wake-ups get lost: every job still ends, once."""

import json
import random
import signal
import time
from dataclasses import asdict

from tests.faults.history import Observer, verdict
from tests.faults.house import DroppingQueue, House, open_house, send

AHEAD = 300
"""Jobs that wait while others run: enough that a kill always comes under load."""


def test_random_kills_and_dropped_wake_ups_lose_nothing(tmp_path, size, capsys):
    n_jobs, n_kills = size(150, 6000), size(3, 60)
    dice = random.Random(7)
    kill_after = sorted(dice.sample(range(n_jobs // 20, n_jobs - n_jobs // 20), n_kills))
    queues: list[DroppingQueue] = []

    def queue(app) -> DroppingQueue:
        queues.append(DroppingQueue(app))
        return queues[-1]

    with open_house(tmp_path, queue=queue, lease_s=3.0) as house:
        started = time.monotonic()
        house.start(workers=2, reconcilers=2)
        observer, submitted, kills = Observer(house.engine), [], 0
        ended = 0

        def step() -> bool:
            nonlocal ended, kills
            feed(house, submitted, min(n_jobs, ended + AHEAD))
            ended = observer.look()
            if kills < n_kills and ended >= kill_after[kills]:
                kills += kill_one(house, dice)
            return ended == n_jobs

        house.until(step, "every job ends", timeout_s=1800)
        seconds = time.monotonic() - started
        outcome = verdict(house.engine, submitted, house.logs())
        dropped = sum(queue.dropped for queue in queues)
        starts = sum(worker.starts for worker in house.workers)
    figures = {"jobs": n_jobs, "kills": kills, "starts": starts, "dropped": dropped, **asdict(outcome)}
    with capsys.disabled():
        print("\n" + json.dumps({"test": "kills", **figures, "seconds": round(seconds, 1)}))
    assert kills == n_kills
    assert (outcome.lost, outcome.double) == (0, 0)


def feed(house: House, submitted: list[str], up_to: int) -> None:
    """Submits a few more, so that kills meet submissions as well as runs."""
    for _ in range(min(up_to - len(submitted), 25)):
        action = {"action": "sleep", "seconds": 0.05} if len(submitted) % 5 == 0 else {}
        submitted.append(house.submit(**action, max_attempts=50))


def kill_one(house: House, dice: random.Random) -> bool:
    """Kills Celery's process of one worker, or the child in which its jobs run; false where there is none yet."""
    worker = dice.choice(house.workers)
    pids = worker.pids
    if worker.process.poll() is not None or len(pids) < 2:
        return False
    time.sleep(dice.uniform(0, 0.02))  # at any moment of a job, not only right after one ended
    send(dice.choice(pids), signal.SIGKILL)
    return True
