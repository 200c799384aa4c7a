"""The sweep: everything that is kept no longer goes, in short transactions. Any number of processes may ask for it."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import accumulate, chain, takewhile

from sqlalchemy import Engine

from storage.artifacts.store import STALE_S, ArtifactStore
from storage.database import time_of
from storage.retention.deletion import delete_ended
from storage.retention.expiry import Forecast, Limits, ended, stored_bytes
from storage.retention.release import NOTHING, Freed
from storage.retention.unused import Step, discard_strays, explore_datasets, free_left, free_unused, unused


@dataclass(frozen=True)
class Swept:
    """What a sweep found to go, or did away with, for each of the reasons."""

    aged: Freed = NOTHING
    """Jobs older than they are kept."""
    crowded: Freed = NOTHING
    """The oldest jobs, where artefacts took too much."""
    unused: Freed = NOTHING
    """Artefacts that nobody refers to."""
    strays: int = 0
    """Files in the store that the ledger does not know."""

    @property
    def together(self) -> Freed:
        """What went for any reason."""
        return self.aged + self.crowded + self.unused

    def __str__(self) -> str:
        """In words."""
        reasons = {"too old": self.aged, "to make room": self.crowded, "unused": self.unused}
        told = [f"{freed} ({why})" for why, freed in reasons.items() if freed != NOTHING]
        return "; ".join([*told, *([f"{self.strays} files that the ledger did not know"] if self.strays else [])])

    def __bool__(self) -> bool:
        """Whether there was anything."""
        return self != Swept()


def sweep(
    engine: Engine,
    store: ArtifactStore,
    limits: Limits,
    *,
    unused_s: float,
    kept: Collection[str] = (),
    step: Step = lambda: None,
    strays: bool = True,
) -> Swept:
    """Deletes what is kept no longer.

    Args:
        engine: The ledger's.
        store: Where the bytes are.
        limits: What is kept of ended jobs.
        unused_s: How long an upload may wait for its use.
        kept: Digests that the operator's configuration names.
        step: Called between short steps; what it raises ends the sweep.
        strays: Whether the store is listed as well, for files that the ledger does not know.
    """
    explore_datasets(engine, store)
    aged, crowded, found = Freed(), Freed(), 0
    loose = free_left(engine, store, step)
    if (too_old := limits.ended_before(engine)) is not None:
        for page in ended(engine, before=too_old):
            step()
            aged += delete_ended(engine, store, page)
    loose += free_unused(engine, store, step, before=time_of(engine) - unused_s, kept=kept)
    if (most := limits.room(engine)) is not None:
        crowded = _make_room(engine, store, step, most)
    if strays:
        now = store.time()
        store.clear_incoming(before=now - max(unused_s, STALE_S))
        found = discard_strays(engine, store, step, before=now - unused_s, kept=kept)
    return Swept(aged, crowded, loose, found)


def forecast(engine: Engine, limits: Limits, *, unused_s: float, kept: Collection[str] = ()) -> Swept:
    """What a sweep would delete; files that the ledger does not know are not looked for."""
    would, since, aged, loose, crowded = Forecast(engine), limits.ended_before(engine), Freed(), Freed(), Freed()
    if since is not None:
        for page in ended(engine, before=since):
            aged = sum(would.without(page), aged)
    for rows in unused(engine, before=time_of(engine) - unused_s, kept=kept):
        loose += Freed(artifacts=len(rows), bytes=sum(row.size for row in rows))
    if (most := limits.room(engine)) is not None:
        too_much = stored_bytes(engine) - aged.bytes - loose.bytes - most
        for freed in chain.from_iterable(would.without(page) for page in ended(engine, since=since)):
            if crowded.bytes >= too_much:
                break
            crowded += freed
    return Swept(aged, crowded, loose)


def _make_room(engine: Engine, store: ArtifactStore, step: Step, most: int) -> Freed:
    """Deletes the jobs that ended first, and no more of them than it takes."""
    freed, too_much = Freed(), stored_bytes(engine) - most
    for page in ended(engine) if too_much > 0 else ():
        step()
        expected, would = freed.bytes, list(Forecast(engine).without(page))
        needed = takewhile(lambda before: before < too_much, accumulate((one.bytes for one in would), initial=expected))
        if not (chosen := [job_id for job_id, _ in zip(page, needed, strict=False)]):
            break
        freed += delete_ended(engine, store, chosen)
    return freed
