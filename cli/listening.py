"""The sockets that a gateway listens on, and the address that finds it from this machine."""

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

_BACKLOG = 2048
_TRIES = 20
"""For a port that is free at all addresses of a host."""
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Of an address that a name has and this machine has not, as `::1` where IPv6 is switched off."""
_ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask, not to listen

_Address = tuple[socket.AddressFamily, tuple[str | int | bytes, ...]]


class ServeError(Exception):
    """The service does not come up."""


def url_of(host: str, port: int) -> str:
    """Where a gateway that listens there answers whoever asks on this machine."""
    host = _ANYWHERE.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets that listen on one port of every address that the host has, of IPv4 and IPv6; closed after the block.

    A client of `localhost` asks at `::1` or at `127.0.0.1`, as it likes.

    Raises:
        ServeError: The port is taken, or the host is none of this machine's.
    """
    with ExitStack() as stack:
        try:
            listeners = _bound(host, port)
        except OSError as error:
            # Python adds the address to what the system says of a port, and has its own numbers for names of hosts.
            said = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise ServeError(
                f"cannot listen on {host}:{port} ({said}): "
                "stop what uses it, or choose another with --port (0 takes a free one)"
            ) from error
        for listener in listeners:
            stack.enter_context(listener)
        yield listeners


def _bound(host: str, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    for _ in range(0 if port else _TRIES):
        try:
            return _together(addresses, port)
        except OSError as error:
            # The port that was free at the first address may be another's at the next.
            if error.errno != errno.EADDRINUSE:
                raise
    return _together(addresses, port)


def _together(addresses: Sequence[_Address], port: int) -> list[socket.socket]:
    with ExitStack() as stack:
        listeners = list[socket.socket]()
        for place, (family, address) in enumerate(addresses, 1):
            host, _, *scope = address
            try:
                listener = socket.create_server((host, port, *scope), family=family, backlog=_BACKLOG)
            except OSError as error:
                if error.errno not in _NOT_HERE or (place == len(addresses) and not listeners):
                    raise
                continue
            listeners.append(stack.enter_context(listener))
            port = listener.getsockname()[1]
        stack.pop_all()
        return listeners
