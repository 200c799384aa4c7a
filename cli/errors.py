"""Errors as a person at a terminal wants them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from pydantic import ValidationError

from attribution_contracts.hints import told

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


@contextmanager
def tell_errors() -> Iterator[None]:
    """Turns errors that we foresaw into one line and exit code 1, of settings 2; others keep their traceback."""
    try:
        yield
    except ValidationError as error:
        told = "; ".join(_told(item, error.title) for item in error.errors())
        _exit(f"{error.title} is not valid: {told}", 2 if error.title == "Settings" else 1)
    except Exception as error:
        if type(error).__name__ not in _FORESEEN:
            raise
        _exit(f"{error}{_ADVICE.get(type(error).__name__, '')}")


def _told(item: "ErrorDetails", title: str) -> str:
    where = ".".join(map(str, item["loc"])) or "value"
    said = told(item)
    if title != "Settings":
        return f"{where}: {said}"
    # What may be a secret is not said again.
    given = f" (given: {item['input']!r})" if "url" not in where and not isinstance(item["input"], dict) else ""
    return f"ATTRIBUTION_{where.upper()}: {said}{given}"


_FORESEEN = {
    "BrokerUnavailableError",
    "ConfigError",
    "CorruptArtifact",
    "JobFailed",
    "LedgerFolderError",
    "LedgerUnavailableError",
    "NoLedgerError",
    "ProblemError",
    "SchemaOutdatedError",
    "ServeError",
    "ServiceUnreachable",
    "StoreUnavailableError",
    "UnexpectedAnswer",
}
"""By name, so that no command imports what it does not use."""


_ADVICE = {
    "LedgerFolderError": ": ATTRIBUTION_DATA_DIR (or ATTRIBUTION_DATABASE_URL) names it, and this user must be able to "
    "make and write it",
    "ServiceUnreachable": " (--url or ATTRIBUTION_URL says where it is)",
    "LedgerUnavailableError": ": see whether ATTRIBUTION_DATABASE_URL names a database that is up, and that this user "
    "may write",
}


def _exit(message: str, code: int = 1) -> None:
    click.secho(f"attribution: {message}", fg="red", err=True)
    sys.exit(code)
