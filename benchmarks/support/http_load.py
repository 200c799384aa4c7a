"""A load generator that costs little: requests are bytes made beforehand, connections are kept, answers barely read."""

import multiprocessing
import multiprocessing.connection
import socket
import statistics
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """Status and body of an answer."""

    status: int
    body: bytes


class Connection:
    """One kept connection; `ask` sends bytes and reads one answer with a Content-Length."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def ask(self, request: bytes) -> Answer:
        """The answer to a request.

        Raises:
            ConnectionError: The server closed the connection.
        """
        self._socket.sendall(request)
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._receive()
        head, length = self._buffer[:end], 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(self._buffer) < end + 4 + length:
            self._receive()
        body = self._buffer[end + 4 : end + 4 + length]
        self._buffer = self._buffer[end + 4 + length :]
        return Answer(int(head.split(b" ", 2)[1]), body)

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()

    def _receive(self) -> None:
        received = self._socket.recv(1 << 16)
        if not received:
            raise ConnectionError("the server closed the connection")
        self._buffer += received


def get(path: str) -> bytes:
    """The bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


def post(path: str, content_type: str, body: bytes, **headers: str) -> bytes:
    """The bytes of a POST."""
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{extra}\r\n".encode() + body


def in_sequence(url: str, requests: Iterable[bytes], status: int) -> list[float]:
    """Seconds from sending each request to having its answer, one after the other on one connection."""
    connection, seconds = Connection(url), []
    for request in requests:
        started = time.perf_counter()
        answer = connection.ask(request)
        seconds.append(time.perf_counter() - started)
        require(answer, status)
    connection.close()
    return seconds


def per_second(url: str, requests: Sequence[bytes], status: int, *, connections: int) -> float:
    """Requests answered per second over several connections, driven from a process of its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_drive, args=(url, requests, status, connections, sender))
    process.start()
    seconds: float = receiver.recv()
    process.join()
    return len(requests) / seconds


def _drive(
    url: str,
    requests: Sequence[bytes],
    status: int,
    connections: int,
    sender: multiprocessing.connection.Connection,
) -> None:
    waiting = iter(requests)
    lock = threading.Lock()

    def work() -> None:
        connection = Connection(url)
        while True:
            with lock:
                request = next(waiting, None)
            if request is None:
                return
            require(connection.ask(request), status)

    threads = [threading.Thread(target=work) for _ in range(connections)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sender.send(time.perf_counter() - started)


def require(answer: Answer, status: int) -> None:
    """Stops the benchmark where an answer is not the one that is measured.

    Raises:
        RuntimeError: With what came instead.
    """
    if answer.status != status:
        raise RuntimeError(f"expected {status}, got {answer.status}: {answer.body[:500]!r}")


def percentile(seconds: Sequence[float], share: int) -> float:
    """A percentile in milliseconds."""
    return statistics.quantiles(seconds, n=100, method="inclusive")[share - 1] * 1000
