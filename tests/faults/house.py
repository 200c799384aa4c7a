"""A service without its gateway: ledger, broker, reconcilers and supervised workers, all of them real processes."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from pydantic import SecretStr
from sqlalchemy import RowMapping, func, select

from attribution_contracts.jobs import JobRequest
from attribution_contracts.parameters.self_test import SelfTestParams
from attribution_contracts.states import TERMINAL, JobKind
from cli.tree import child_environment, secret_files
from service.background.reconciler import Reconciler
from storage.broker.child import dying_with_parent
from storage.broker.private import PrivateBroker
from storage.broker.queue import Queue, celery_app
from storage.database import open_database, reading
from storage.ledger.jobs import submit
from storage.ledger.records import NewJob
from storage.migrate import migrate
from storage.settings import Settings
from storage.tables import jobs, results

PATIENCE_S = 300.0
"""Nothing here takes so long: a test that waits this long has found something stuck."""


class Worker:
    """An `attribution worker` that is started again whenever it ends, as a supervisor would."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._open = ExitStack()
        self._environment = child_environment(settings, self._open.enter_context(secret_files(settings)))
        self.log = log
        self.starts = 0
        self.start()

    def start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "worker"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=dying_with_parent(signal.SIGKILL),  # noqa: PLW1509 - it calls the kernel alone
            )

    @property
    def pids(self) -> list[int]:
        """Celery's own process, and its children that run jobs (normally one)."""
        try:
            children = psutil.Process(self.process.pid).children()
            return [self.process.pid, *(c.pid for c in children if "spawn_main" in " ".join(c.cmdline()))]
        except psutil.NoSuchProcess:
            return [self.process.pid]

    def keep(self) -> None:
        if self.process.poll() is not None:
            self.start()

    def send(self, how: signal.Signals) -> None:
        """Signals all of its processes."""
        for pid in self.pids:
            send(pid, how)

    def end(self) -> None:
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        self.process.wait()
        self._open.close()


class House:
    """Everything that jobs need to be run, in one folder; `until` supervises while it waits."""

    def __init__(self, folder: Path, *, queue: Callable[[Any], Queue] = Queue, **settings: Any) -> None:
        self.broker = PrivateBroker(folder)
        self.broker.start()
        defaults = {"lease_s": 2.0, "reconcile_s": 0.3, "republish_grace_s": 1.0, "retry_s": 0.1, "preload": False}
        self.settings = Settings(data_dir=folder, broker_url=SecretStr(self.broker.url), **{**defaults, **settings})
        self.engine = open_database(self.settings.resolved_database_url)
        migrate(self.engine)
        self._make_queue = queue
        self.queue = self._new_queue()
        self.workers: list[Worker] = []
        self._reconcilers: list[tuple[Reconciler, threading.Thread]] = []

    def start(self, *, workers: int, reconcilers: int = 2) -> None:
        self.workers += [self._new_worker(number) for number in range(workers)]
        for _ in range(reconcilers):
            reconciler = Reconciler(
                open_database(self.settings.resolved_database_url), self._new_queue(), self.settings
            )
            thread = threading.Thread(target=reconciler.run, daemon=True)
            thread.start()
            self._reconcilers.append((reconciler, thread))

    def close(self) -> None:
        for reconciler, _ in self._reconcilers:
            reconciler.stop()
        for _, thread in self._reconcilers:
            thread.join()
        for worker in self.workers:
            worker.end()
        self.queue.close()
        self.engine.dispose()
        self.broker.stop()

    def submit(
        self, action: str = "nothing", *, max_attempts: int = 3, deadline_s: float | None = None, **params: Any
    ) -> str:
        """Enters a self-test and publishes its wake-up, as the gateway does."""
        explanation = SelfTestParams(method="self_test", action=action, **params)
        request = JobRequest(explanation=explanation).model_dump(mode="json")
        new = NewJob(
            kind=JobKind.SELF_TEST,
            method="self_test",
            request=request,
            resolved=request,
            max_attempts=max_attempts,
            deadline_s=deadline_s,
        )
        job_id = submit(self.engine, new).job.id
        self.queue.wake(job_id)
        return job_id

    def row(self, job_id: str) -> RowMapping:
        """The job with the attempt and the body of its result, both None where it has none."""
        query = select(jobs, results.c.attempt.label("result_attempt"), results.c.body).outerjoin(results)
        with reading(self.engine) as connection:
            return connection.execute(query.where(jobs.c.id == job_id)).mappings().one()

    def status(self, job_id: str) -> str:
        return self.row(job_id)["status"]

    def count_live(self) -> int:
        """Jobs that have not ended."""
        live = jobs.c.status.not_in([status.value for status in TERMINAL])
        with reading(self.engine) as connection:
            return connection.execute(select(func.count()).select_from(jobs).where(live)).scalar_one()

    def finish(self, job_ids: Collection[str], timeout_s: float = PATIENCE_S) -> list[RowMapping]:
        """Waits until all of the jobs have ended."""
        waiting = set(job_ids)

        def ended() -> bool:
            with reading(self.engine) as connection:
                known = connection.execute(select(jobs.c.id).where(jobs.c.status.in_(TERMINAL)))
                waiting.difference_update(known.scalars())
            return not waiting

        self.until(ended, f"jobs end: {job_ids}", timeout_s)
        return [self.row(job_id) for job_id in job_ids]

    def runner(self, job_id: str, attempt: int = 1) -> tuple[Worker, int]:
        """Waits until the attempt runs; its worker and the process that runs it."""
        found: list[tuple[Worker, int]] = []

        def runs() -> bool:
            row = self.row(job_id)
            if row["status"] == "running" and row["attempt"] == attempt:
                pid = pid_of(row["worker"])
                found.extend((worker, pid) for worker in self.workers if pid in worker.pids)
            return bool(found)

        self.until(runs, f"attempt {attempt} of {job_id} runs")
        return found[0]

    def gather(self) -> None:
        """Waits until every worker does jobs, also those that a test before has killed."""

        def all_work() -> bool:
            rows = self.finish([self.submit("sleep", seconds=0.2) for _ in self.workers])
            return len({row["worker"] for row in rows}) == len(self.workers)

        self.until(all_work, "all workers work")

    def supervise(self) -> None:
        for worker in self.workers:
            worker.keep()

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
        """Supervises until the condition holds; fails the test where it never does."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s and still not: {what}"
            self.supervise()
            time.sleep(0.01)

    def logs(self) -> str:
        return "".join(worker.log.read_text(errors="replace") for worker in self.workers)

    def _new_queue(self) -> Queue:
        return self._make_queue(celery_app(self.broker.url, self.settings))

    def _new_worker(self, number: int) -> Worker:
        return Worker(self.settings, self.settings.resolved_data_dir / f"worker-{len(self.workers) + number}.log")


class DroppingQueue(Queue):
    """Loses a share of the wake-ups between publisher and broker, without a word."""

    SHARE = 0.01

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self._random = random.Random(20_17)
        self.dropped = 0

    def wake(self, job_id: str | None = None, *, count: int = 1) -> bool:
        for _ in range(count):
            if self._random.random() < self.SHARE:
                self.dropped += 1
            elif not super().wake(job_id):
                return False
        return True


@contextmanager
def open_house(folder: Path, **settings: Any) -> Iterator[House]:
    house = House(folder, **settings)
    try:
        yield house
    finally:
        house.close()


def pid_of(worker: str) -> int:
    """The process in a worker's name."""
    return int(worker.split(":")[1])


def send(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return
