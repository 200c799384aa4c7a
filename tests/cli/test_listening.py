"""A gateway listens on every address that its host has, and is asked where it listens."""

import contextlib
import socket
from collections.abc import Iterator

import httpx
import pytest

from cli.listening import ServeError, listening, url_of
from cli.tree import running_tree
from storage.settings import Settings


@contextlib.contextmanager
def ipv6() -> Iterator[socket.socket]:
    """A port of IPv6's own loopback address."""
    try:
        taken = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    with taken:
        yield taken


def test_every_address_that_a_name_has_at_one_port() -> None:
    with listening("localhost", 0) as listeners:
        port = listeners[0].getsockname()[1]
        named = socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)
        found = {listener.getsockname()[:2] for listener in listeners}
        assert found <= {address[:2] for *_, address in named}
        with socket.create_connection(("localhost", port), timeout=5):
            pass


def test_every_address_of_both_kinds() -> None:
    with ipv6(), listening("", 0) as listeners:
        port = listeners[0].getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, port), timeout=5):
                pass


def test_a_port_that_is_taken_at_one_of_the_addresses() -> None:
    with ipv6() as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ServeError, match=rf"cannot listen on :{port} \(Address already in use\)"),
            listening("", port),
        ):
            pass
        with socket.create_server(("127.0.0.1", port)):
            pass  # what could be had was given back


def test_a_name_that_nobody_has() -> None:
    with pytest.raises(ServeError, match=r"cannot listen on nobody\.invalid:0 "), listening("nobody.invalid", 0):
        pass


def test_a_service_answers_on_ipv4_and_ipv6(settings: Settings) -> None:
    with ipv6():
        given = settings.model_copy(update={"host": "", "port": 0, "workers": 0})
        with running_tree(given) as tree:
            port = httpx.URL(tree.url).port
            for host in ("127.0.0.1", "[::1]"):
                assert httpx.get(f"http://{host}:{port}/healthz").is_success


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost", "http://localhost:80"),
        ("", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
    ],
)
def test_where_it_is_asked(host: str, url: str) -> None:
    assert url_of(host, 80) == url
