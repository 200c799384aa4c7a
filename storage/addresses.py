"""Where ledger, store and broker are, as a log or a person may see it: without passwords."""

import re

from sqlalchemy import Engine

from storage.settings import Settings

_PASSWORD = re.compile(r"//([^/@:]*):.*@")


def shown(url: str) -> str:
    """The URL without a password, and without options, which may hold one."""
    return _PASSWORD.sub(r"//\1@", url).replace("//@", "//").partition("?")[0]


def ledger_name(engine: Engine) -> str:
    """The kind of a ledger and where it is."""
    if engine.dialect.name == "sqlite":
        return f"SQLite {engine.url.database}"
    return shown(engine.url.set(drivername=engine.dialect.name).render_as_string(hide_password=False))


def places(settings: Settings) -> str:
    """Where a process looks for ledger, artefact store and broker."""
    ledger, broker = settings.resolved_database_url, settings.broker_url
    found = {
        "ledger": shown(ledger.replace("sqlite:///", "SQLite ", 1)),
        "artefact store": shown(settings.resolved_artifact_url),
        "broker": "none" if broker is None else shown(broker.get_secret_value()),
    }
    return ", ".join(f"{what} {where}" for what, where in found.items())
