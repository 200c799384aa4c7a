"""URLs of settings, read in one place before anything uses them. What is said of one repeats but its kind.

A password with an @ or / that is not encoded makes a URL whose parts are others than were meant; a library would then
repeat some of them as the name of a host, or end in a traceback.
"""

import re
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit, urlunsplit

from fsspec import available_protocols

_LEDGERS = ("sqlite", "postgres", "postgresql", "postgresql+psycopg")
_BROKERS = ("redis", "rediss", "redis+socket", "valkey", "valkeys", "valkey+socket", "amqp", "amqps")
_ESCAPES = "characters like @ : / ? # % in a user or password must be percent-encoded (@ is %40, / is %2F)"
_PASSWORDS = {
    "database_url": "ATTRIBUTION_DATABASE_PASSWORD",
    "broker_url": "ATTRIBUTION_BROKER_PASSWORD",
}
_ANOTHER = re.compile(r";(?=[a-z+]+://)")
"""Between the addresses of several brokers."""


def require_ledger(text: str) -> None:
    """Accepts the URL of a ledger.

    Raises:
        ValueError: It is none that we speak to, cannot be read, or names no file.
    """
    scheme, _, rest = text.partition("://")
    if scheme not in _LEDGERS:
        raise ValueError(
            f"the ledger speaks SQLite and PostgreSQL, given {_kind(text)}: expected sqlite:////folder/file or"
            " postgresql://user@host/name"
        )
    if scheme != "sqlite":
        _require_options(_parts(text, "database_url").query)
    elif rest.partition("?")[0] in {"", "/", "/:memory:"}:
        raise ValueError("the ledger must outlive a process: give SQLite a file (sqlite:////folder/file), not memory")
    elif not rest.startswith("/"):
        raise ValueError(
            "a slash is missing: expected sqlite:////folder/file, or sqlite:///file for one in the working folder"
        )


def require_broker(text: str) -> None:
    """Accepts the URL of a broker, or of several.

    Raises:
        ValueError: It is none that we speak to, or cannot be read.
    """
    for one in _ANOTHER.split(text):
        scheme = one.partition("://")[0]
        if scheme not in _BROKERS:
            raise ValueError(f"no broker is spoken to by {_kind(one)}: expected {', '.join(_BROKERS)}")
        if not scheme.endswith("+socket"):
            _parts(one, "broker_url")


def require_store(text: str) -> None:
    """Accepts a folder or the URL of an artefact store.

    Raises:
        ValueError: It is none that we speak to, or cannot be read.
    """
    scheme, is_url, rest = text.partition("://")
    if not is_url:
        return
    if scheme not in available_protocols():
        raise ValueError(
            f"no artefact store is spoken to by {_kind(text)}: expected a folder, s3:// or another of fsspec"
        )
    # A key of a bucket may hold an @: it is read as a password's only where something before it looks like a user.
    if scheme not in {"file", "local"} and re.search(r"[:@]", rest.partition("/")[0]):
        _parts(text, "artifact_url")


def require_service(text: str) -> None:
    """Accepts the address of a service.

    Raises:
        ValueError: It is none of HTTP, names no host, or cannot be read.
    """
    if not text.startswith(("http://", "https://")):
        raise ValueError(f"expected http://host:port or https://host, given {_kind(text)}")
    if not _parts(text, "url").hostname:
        raise ValueError("the URL names no host: expected http://host:port or https://host")


def with_password(url: str, password: str) -> str:
    """The URL with a password, unless it names none that could need one or has its own."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if not host or ":" in user:
        return url
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


def _require_options(query: str) -> None:
    """Accepts options of a connection to PostgreSQL, where there is what knows them.

    Raises:
        ValueError: There is no such option.
    """
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import make_conninfo
    except ImportError:
        return
    for name in dict(parse_qsl(query)):
        try:
            make_conninfo("", **{name: "1"})
        except ProgrammingError as error:
            raise ValueError(f"PostgreSQL has no option {name!r} of a connection, which stands after the ?") from error


def _parts(url: str, setting: str) -> SplitResult:
    """The parts of a URL.

    Raises:
        ValueError: They cannot be told from one another.
    """
    password = f", or say the password with {_PASSWORDS[setting]}" if setting in _PASSWORDS else ""
    advice = f"{_ESCAPES}{password}"
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise ValueError(f"the {_kind(url)} URL cannot be read, its host is none: {advice}") from error
    behind = url.partition("://")[2][len(parts.netloc) :]
    if parts.netloc.count("@") > 1 or (parts.netloc and "@" in behind):
        raise ValueError(f"the {_kind(url)} URL cannot be read, an @, / or the like is not encoded: {advice}")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(
            f"the {_kind(url)} URL cannot be read, its port is no number up to 65535: expected "
            f"{parts.scheme}://user@host:port/name; {advice}"
        ) from error
    if host is not None and re.search(r"\s", host):
        raise ValueError(f"the {_kind(url)} URL cannot be read, its host has a space: {advice}")
    if port == 0:
        raise ValueError(f"the {_kind(url)} URL has port 0, which nobody answers at: name the server's")
    return parts


def _kind(url: str) -> str:
    """What may be repeated of a URL: it may hold a password."""
    scheme, is_url, _ = url.partition("://")
    return f"{scheme}://" if is_url and re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*", scheme) else "a text without ://"
