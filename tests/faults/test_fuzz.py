"""Thousands of requests that are almost right: no failure of the gateway's own, no lost job, health all the while."""

import contextlib
import json
import random
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import httpx
import pytest
from sqlalchemy import select

from attribution_contracts.problems import Problem
from storage.database import reading
from storage.tables import jobs
from tests.faults.fuzzed import KINDS
from tests.service.apart import Apart, apart

SEED = 11
CLIENTS = 8
PATIENCE_S = 1.0
"""After which a client leaves: what is cut off may be a request of which the rest is waited for."""


def exchanged(port: int, request: bytes) -> bytes:
    """All that is answered until the connection ends; who is told nothing leaves, as nothing more would come."""
    received = b""
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    with client, contextlib.suppress(ConnectionError, TimeoutError):
        client.settimeout(PATIENCE_S)
        client.sendall(request)
        while piece := client.recv(65_536):
            received += piece
    return received


class Health:
    """Asks for health all the while."""

    def __init__(self, port: int) -> None:
        self.answers: Counter[str] = Counter()
        self.slowest = 0.0
        self._port, self._stop = port, threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=60) as http:
            while not self._stop.wait(0.05):
                asked = time.monotonic()
                try:
                    self.answers[str(http.get("/healthz").status_code)] += 1
                except httpx.TransportError as error:
                    self.answers[type(error).__name__] += 1
                self.slowest = max(self.slowest, time.monotonic() - asked)


def judged(answer: bytes) -> tuple[str, str | None]:
    """Status of an answer, and the id of the job that it accepts; a refusal must be a problem."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ")[1].decode() if head.startswith(b"HTTP/1.1 ") else "none"
    if status.startswith(("4", "5")) and body:
        assert b"application/problem+json" in head.lower(), answer[:500]
        Problem.model_validate_json(body.partition(b"HTTP/1.1 ")[0])
    if status not in {"200", "202"} or not body.startswith(b'{"id":"job_'):
        return status, None
    return status, str(json.loads(body.partition(b"HTTP/1.1 ")[0])["id"])


def entered(gateway: Apart) -> set[str]:
    with reading(gateway.engine) as connection:
        return set(connection.scalars(select(jobs.c.id)))


@pytest.fixture
def gateway(settings, engine, store, broker, tmp_path):
    with apart(settings, engine, store, broker, tmp_path / "log") as gateway:
        gateway.add_model()
        yield gateway
        assert "Traceback" not in (tmp_path / "log").read_text()


def test_requests_that_are_almost_right(gateway: Apart, size, capsys) -> None:
    each = size(60, 1500)
    cases = [(kind, f"{SEED} {kind} {number}") for number in range(each) for kind in KINDS]
    started = time.monotonic()

    def tried(case: tuple[str, str]) -> tuple[str, str | None]:
        kind, seed = case
        request = KINDS[kind](random.Random(seed))
        status, job = judged(exchanged(gateway.port, request))
        assert not status.startswith("5") or status == "503", (seed, request[:2000])
        return status, job

    with Health(gateway.port) as health, ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(tried, cases))
    statuses = Counter(status for status, _ in answers)
    accepted = {job for _, job in answers if job is not None}
    lost = accepted - entered(gateway)
    figures = {"cases": len(cases), "accepted": len(accepted), "lost": len(lost), "statuses": statuses}
    waits = {"health": health.answers, "slowest_health_s": round(health.slowest, 2)}
    with capsys.disabled():
        seconds = round(time.monotonic() - started, 1)
        print("\n" + json.dumps({"test": "fuzz", **figures, **waits, "seconds": seconds}))
    assert set(health.answers) == {"200"}
    assert lost == set()
    assert accepted, "what is almost right is sometimes right"
