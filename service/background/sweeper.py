"""The sweeper: deletes what is kept no longer, beside the reconciler. Any number may run; they take turns."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from storage.artifacts.store import ArtifactStore, StoreUnavailableError
from storage.database import LedgerUnavailableError
from storage.operator_config import load_config
from storage.retention.expiry import Limits
from storage.retention.remains import remains, shortfall, size_in_words
from storage.retention.sweep import Swept, sweep
from storage.retention.turns import Turn
from storage.settings import Settings

log = logging.getLogger(__name__)

LOOK_S = 60.0
"""Pause between two looks at whose turn it is, where sweeps are rarer."""


class _Over(Exception):
    """The process ends, or another one sweeps."""


class Sweeper:
    """Sweeps when it is our turn, until it is stopped."""

    def __init__(self, engine: Engine, store: ArtifactStore, settings: Settings) -> None:
        self._engine, self._store, self._settings = engine, store, settings
        self._turn = Turn(engine, "sweep", settings.sweep_s)
        # Whatever is in the store and not in the ledger must be old to go: there is no use in looking more often.
        self._listing = Turn(engine, "listing", max(settings.sweep_s, settings.keep_unused_s))
        self._kept = load_config(settings.config_file).artifacts
        self._stopped = threading.Event()
        self._trouble: str | None = None
        self._is_short = False

    def run(self) -> None:
        """Sweeps until `stop` is called from another thread."""
        while not self._stopped.wait(min(self._settings.sweep_s, LOOK_S)):
            self.round()

    def stop(self) -> None:
        """Ends `run` after its present step."""
        self._stopped.set()

    def round(self) -> None:
        """Sweeps if it is our turn; trouble with ledger or store is logged once and tried again in the next."""
        try:
            swept = self._swept() if self._turn.take() else Swept()
        except _Over:
            return
        except (LedgerUnavailableError, StoreUnavailableError, OSError) as error:
            if self._trouble is None:
                log.warning("sweeper cannot work just now, it keeps trying: %s", error)
            self._trouble = str(error)
            return
        if self._trouble is not None:
            log.info("sweeper works again")
        self._trouble = None
        if swept:
            log.info("deleted: %s", swept)

    def _note_shortfall(self) -> None:
        """Says once that more remains than was granted."""
        if self._settings.keep_bytes is None:
            return
        found = remains(self._engine)
        short = shortfall(found, self._settings.keep_bytes)
        if short is not None and not self._is_short:
            kept = "; until then no job is deleted for it" if found.lasting > self._settings.keep_bytes else ""
            log.warning("ATTRIBUTION_KEEP_BYTES: %s remain; %s%s", size_in_words(found.bytes), short, kept)
        self._is_short = short is not None

    def _swept(self) -> Swept:
        settings = self._settings
        age_s = None if settings.keep_jobs_days is None else settings.keep_jobs_days * 24 * 3600
        swept = sweep(
            self._engine,
            self._store,
            Limits(age_s, settings.keep_bytes),
            unused_s=settings.keep_unused_s,
            kept=self._kept,
            step=self._step,
            strays=self._listing.take(),
        )
        self._note_shortfall()
        return swept

    def _step(self) -> None:
        if self._stopped.is_set() or not self._turn.extend():
            raise _Over


@contextmanager
def sweeping(engine: Engine, settings: Settings) -> Iterator[None]:
    """Runs a sweeper in a thread of its own for as long as the block runs."""
    sweeper = Sweeper(engine, ArtifactStore(settings.resolved_artifact_url), settings)
    thread = threading.Thread(target=sweeper.run, name="sweeper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        sweeper.stop()
        thread.join()
