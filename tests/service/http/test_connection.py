"""Clients that send too much beside a body, too slowly or nothing at all; and too many of them."""

import contextlib
import json
import resource
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine

from service import server
from service.gateway.gateway import UPLOADS
from service.http import connection
from service.http.connection import MAX_HEAD
from storage.artifacts.store import ArtifactStore
from storage.settings import Settings
from tests.service.house import SELF_TEST, House, model_spec, running

FORM = b"Content-Type: multipart/form-data; boundary=x\r\n"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.4)
    monkeypatch.setattr(connection, "IDLE_S", 0.4)
    monkeypatch.setattr(connection, "_TICK_S", 0.05)


@contextlib.contextmanager
def connected(house: House, count: int = 1) -> Iterator[list[socket.socket]]:
    address = (house.http.base_url.host, house.http.base_url.port or 80)
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(count)]


def answer_of(client: socket.socket) -> tuple[int, dict[str, object]]:
    """Status and problem of whatever comes until the connection ends."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65_536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert head, "the connection ended without an answer"
    assert b"content-type: application/problem+json" in head.lower()
    return int(head.split()[1]), json.loads(body)


def sent_until_refused(client: socket.socket, piece: bytes, most: int) -> int:
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < most:
            client.sendall(piece)
            sent += len(piece)
    return sent


class TestHeads:
    @pytest.mark.parametrize("start", [b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: ", b"GET /", b"GET /?a="])
    def test_a_head_that_never_ends_is_refused_before_it_is_whole(self, house: House, start: bytes) -> None:
        with connected(house) as [client]:
            client.sendall(start)
            assert sent_until_refused(client, b"x" * 16_384, 100_000_000) < 40_000_000
            status, problem = answer_of(client)
        assert (status, problem["status"]) == (431, 431)
        assert str(MAX_HEAD) in str(problem["detail"])

    def test_many_small_fields_are_counted_too(self, house: House) -> None:
        with connected(house) as [client]:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 12_000 + b"\r\n")
            assert answer_of(client)[0] == 431

    def test_who_sends_a_large_head_whole_sees_the_answer(self, house: House) -> None:
        for size in (70_000, 1_000_000):
            assert house.http.get("/healthz", headers={"X-Long": "x" * size}).status_code == 431

    def test_a_head_at_the_limit_is_answered(self, house: House) -> None:
        assert house.http.get("/healthz", headers={"X-Long": "x" * (MAX_HEAD - 1000)}).status_code == 200

    def test_chunks_of_a_byte_are_mostly_frames(self, house: House) -> None:
        with connected(house) as [client]:
            head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            client.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            assert sent_until_refused(client, b"1\r\nx\r\n" * 10_000, 100_000_000) < 40_000_000
            assert answer_of(client)[0] == 431

    def test_what_is_no_http_gets_a_problem(self, house: House) -> None:
        for line in (b"\x16\x03\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"G@T / HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
            with connected(house) as [client]:
                client.sendall(line)
                status, problem = answer_of(client)
                assert (status, problem["code"]) == (400, "invalid_request")


@pytest.mark.usefixtures("impatient")
class TestSlowClients:
    def test_who_says_nothing_is_let_go(self, house: House) -> None:
        with connected(house) as [client]:
            assert client.recv(10) == b""

    @pytest.mark.parametrize("start", [b"G", b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: "])
    def test_who_stops_inside_a_head_is_told(self, house: House, start: bytes) -> None:
        with connected(house) as [client]:
            client.sendall(start)
            assert answer_of(client)[0] == 408

    @pytest.mark.parametrize("path", ["/v1/jobs", "/v1/images", "/v1/models", "/v1/datasets", "/v1/pieces", "/healthz"])
    def test_who_stops_inside_a_body_is_told_on_every_route(self, house: House, path: str) -> None:
        kind = "application/octet-stream" if path == "/v1/pieces" else "application/json"
        kind = "image/png" if path == "/v1/images" else kind
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n{{"
        with connected(house) as [client]:
            client.sendall(head.encode())
            status, problem = answer_of(client)
        assert status == (405 if path == "/healthz" else 408)
        if status == 408:
            assert "stalled" in str(problem["detail"])
            assert problem["retryable"]

    def test_an_idle_connection_after_an_answer_is_closed(self, house: House) -> None:
        with connected(house) as [client]:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 200")
            client.sendall(b"GET /hea")
            assert answer_of(client)[0] == 408


def test_the_floor_of_a_body_rises(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 0.5)
    monkeypatch.setattr(connection, "_TICK_S", 0.05)
    monkeypatch.setattr(connection, "FIRST_BYTES", 3000)
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9000000\r\n\r\n"
    with connected(house) as [client]:
        client.sendall(head)
        sent = 0
        with contextlib.suppress(ConnectionError):
            for _ in range(600):
                client.sendall(b" " * 200)  # 4 kB a second: above the first floor, below the other
                sent += 200
                time.sleep(0.05)
        assert answer_of(client)[0] == 408
    assert 3000 < sent < 60_000


class TestManyClients:
    def test_slow_files_do_not_keep_documents_waiting(self, house: House) -> None:
        spec = json.dumps(model_spec("slow", weights={"part": "weights"})).encode()
        start = b'--x\r\nContent-Disposition: form-data; name="request"\r\n\r\n' + spec
        start += b'\r\n--x\r\nContent-Disposition: form-data; name="weights"; filename="w"\r\n\r\n'
        head = b"POST /v1/models HTTP/1.1\r\nHost: x\r\n" + FORM + b"Content-Length: 1000000000\r\n\r\n" + start
        with connected(house, UPLOADS) as clients:
            for client in clients:
                client.sendall(head)
            time.sleep(0.3)
            assert house.http.post("/v1/models", json=model_spec("other")).status_code == 202
            assert house.submit(**SELF_TEST).status_code == 202
            with connected(house) as [late]:
                late.sendall(head)
                status, problem = answer_of(late)
            assert (status, problem["retryable"]) == (503, True)
            assert str(UPLOADS) in str(problem["detail"])
        files = {"request": (None, spec.replace(b"slow", b"fast")), "weights": b"\x02\0\0\0\0\0\0\0{}"}
        assert eventually(lambda: house.http.post("/v1/models", files=files).status_code == 202)

    def test_bodies_of_all_clients_are_bounded(
        self, settings: Settings, engine: Engine, store: ArtifactStore, broker: str
    ) -> None:
        small = settings.model_copy(update={"max_body_bytes": 1_000_000, "max_bodies_bytes": 1_500_000})
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n"
        with running(small, engine, store, broker) as house, connected(house, 2) as clients:
            for client in clients:
                client.sendall(head + b" " * 850_000)
            status, problem = answer_of(clients[1])
            assert (status, problem["retryable"]) == (503, True)
            assert house.submit(**SELF_TEST).status_code == 202
            clients[0].sendall(b" " * 50_000)
            assert clients[0].recv(4096).startswith(b"HTTP/1.1 400")

    def test_at_the_limit_of_connections_the_idle_go_and_health_is_answered(
        self, settings: Settings, engine: Engine, store: ArtifactStore, broker: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server, "connections", lambda: 8)
        busy = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        with running(settings, engine, store, broker) as house, connected(house, 8) as waiting:
            for client in waiting:
                client.sendall(busy)
            with connected(house, 20):
                time.sleep(0.2)
                address = str(house.http.base_url)
                assert httpx.get(f"{address}/healthz", timeout=10).status_code == 200
                refused = httpx.get(f"{address}/v1/jobs", timeout=10)
                assert (refused.status_code, refused.json()["retryable"]) == (503, True)
            for client in waiting:  # who is being served is not let go
                client.sendall(b"12345678")
                assert client.recv(4096).startswith(b"HTTP/1.1 400")

    def test_the_limit_is_below_that_of_open_files(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert 0 < server.connections() < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= soft


def eventually(look: object, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if look():  # type: ignore[operator]  # a function without arguments
            return True
        time.sleep(0.05)
    return False
