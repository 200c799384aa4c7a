"""Clients that stop in the middle, drip, or never read: others are answered, and every accepted job ends."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.served import Served, served

FORM = "multipart/form-data; boundary=x"
DRIPPING = (
    f"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: 900000000\r\n\r\n--x\r\n"
    'Content-Disposition: form-data; name="weights"; filename="w"\r\n\r\n'
)
JSON = "Content-Type: application/json\r\n"
STUCK = {
    "nothing": "",
    "inside a head": "GET /healthz HTTP/1.1\r\nHost: x\r\nA: ",
    "inside a document": f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 900\r\n\r\n{{",
    "inside an image": "POST /v1/images HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 900\r\n\r\n.",
    "inside a chunk": f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n{JSON}Transfer-Encoding: chunked\r\n\r\nff",
    "never reads": "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 40,
}
"""Where a client stops, and what it has sent by then."""


@contextmanager
def connected(tree: Served, count: int) -> Iterator[list[socket.socket]]:
    address = urlsplit(tree.url)
    with ExitStack() as stack:
        make = lambda: socket.create_connection((address.hostname, address.port), timeout=30)  # noqa: E731
        yield [stack.enter_context(make()) for _ in range(count)]


@contextmanager
def dripping(clients: list[socket.socket]) -> Iterator[None]:
    """Sends a kilobyte a second for each client, for as long as the other side takes it."""
    stopped = threading.Event()

    def drip() -> None:
        left = list(clients)
        while left and not stopped.wait(1.0):
            for client in list(left):
                try:
                    client.sendall(b"x" * 1000)
                except OSError:
                    left.remove(client)

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def test_slow_clients_keep_nobody_waiting(
    tmp_path: Path, size: Callable[[int, int], int], capsys: pytest.CaptureFixture[str]
) -> None:
    each, rounds = size(5, 60), size(10, 100)
    with ExitStack() as stack:
        tree = stack.enter_context(served(tmp_path / "data"))
        slow = stack.enter_context(connected(tree, each))
        for client in slow:
            client.sendall(DRIPPING.encode())
        stack.enter_context(dripping(slow))
        stuck = stack.enter_context(connected(tree, each * len(STUCK)))
        for client, start in zip(stuck, list(STUCK.values()) * each, strict=True):
            client.sendall(start.encode())
        submitted, waits = [], []
        with httpx.Client(base_url=tree.url, timeout=60) as http:
            for _ in range(rounds):
                begun = time.monotonic()
                assert http.get("/healthz").status_code == 200
                submitted.append(tree.submit())
                waits.append(time.monotonic() - begun)
        ended = [tree.wait_for(job_id, "succeeded", "failed") for job_id in submitted]
        for client in stuck[: size(2, len(stuck))]:
            client.settimeout(120)
            while client.recv(1_000_000):  # an answer, then the end: none is kept for ever
                pass
    assert {job["status"] for job in ended} == {"succeeded"}
    with capsys.disabled():
        clients = each * (1 + len(STUCK))
        figures = {"slow": clients, "jobs": len(ended), "lost": 0, "longest_wait_s": round(max(waits), 2)}
        print("\n" + json.dumps({"test": "slow clients", **figures}))
