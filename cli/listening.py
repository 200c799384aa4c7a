"""The socket that a gateway listens on."""

import os
import socket


class ServeError(Exception):
    """The service does not come up."""


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ServeError: The port is taken, or the host is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        # Python adds the address to what the system says of a port, and has its own numbers for names of hosts.
        said = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise ServeError(
            f"cannot listen on {host}:{port} ({said}): "
            "stop what uses it, or choose another with --port (0 takes a free one)"
        ) from error
