"""What a worker looks at before it takes a job: is its store the service's, and can it make what is registered?"""

import logging

from sqlalchemy import Engine, select

from attribution_contracts.hints import in_words
from attribution_contracts.states import ModelState
from storage.addresses import ledger_name
from storage.artifacts.owned import strangers
from storage.artifacts.store import ArtifactStore
from storage.database import reading
from storage.operator_config import ConfigError
from storage.settings import Settings
from storage.tables import models

log = logging.getLogger(__name__)

_NAMED = 3
_FACTORY = "factory:"


def require_our_store(engine: Engine, settings: Settings) -> None:
    """Accepts a store that has any of the newest artefacts of the ledger, where there are some.

    With another one every job that the worker took would fail for good.

    Raises:
        ConfigError: It has none of them.
    """
    store = ArtifactStore(settings.resolved_artifact_url)
    if lacking := strangers(engine, store):
        raise ConfigError(
            f"the artefact store {store.url} has none of the newest {lacking} artefacts of the ledger "
            f"{ledger_name(engine)}: it is another service's, or was lost; set ATTRIBUTION_ARTIFACT_URL (or "
            "ATTRIBUTION_DATA_DIR) as the gateway has it"
        )


def warn_of_factories(engine: Engine, known: frozenset[str]) -> None:
    """Tells the log which versions need a factory that this worker's configuration does not have."""
    with reading(engine) as connection:
        ready = select(models.c.name, models.c.version, models.c.spec).where(models.c.state == ModelState.READY.value)
        rows = connection.execute(ready).all()
    needed: dict[str, list[str]] = {}
    for name, version, spec in rows:
        architecture = str(spec.get("architecture", ""))
        factory = architecture.removeprefix(_FACTORY)
        if factory != architecture and factory not in known:
            needed.setdefault(factory, []).append(f"{name}@{version}")
    for factory, versions in needed.items():
        more = f" and {len(versions) - _NAMED} more" if len(versions) > _NAMED else ""
        log.warning(
            "%s%s need the factory %r, which this worker's ATTRIBUTION_CONFIG_FILE does not have: their jobs fail "
            "here; start all gateways and workers with the same file",
            in_words(versions[:_NAMED]),
            more,
            factory,
        )
