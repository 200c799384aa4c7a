"""Errors as a person at a terminal wants them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from pydantic import ValidationError


@contextmanager
def tell_errors() -> Iterator[None]:
    """Turns errors that we foresaw into one line and exit code 1; others keep their traceback."""
    try:
        yield
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'value'}: {item['msg']}" for item in error.errors())
        _exit(f"{error.title} is not valid: {wrong}")
    except Exception as error:
        if type(error).__name__ not in _FORESEEN:
            raise
        _exit(str(error))


_FORESEEN = {
    "BrokerUnavailableError",
    "ConfigError",
    "CorruptArtifact",
    "JobFailed",
    "LedgerUnavailableError",
    "ProblemError",
    "SchemaOutdatedError",
    "ServeError",
    "ServiceUnreachable",
    "StoreUnavailableError",
    "UnexpectedAnswer",
}
"""By name, so that no command imports what it does not use."""


def _exit(message: str) -> None:
    click.secho(f"attribution: {message}", fg="red", err=True)
    sys.exit(1)
