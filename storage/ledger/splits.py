"""How a job comes to have parts: in batches that leave room for other writers, and all at once as seen from outside."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, Engine, and_, delete, update

from storage.database import writing
from storage.ledger.jobs import enter
from storage.ledger.records import HELD_UNTIL, Claim, NewJob
from storage.ledger.statements import EndedParts, count_children, is_ours
from storage.tables import jobs

BATCH = 250
"""Parts that are entered in one transaction: while it lasts, nobody else can write to a SQLite ledger."""


def enter_parts(engine: Engine, claimed: Claim, children: Sequence[NewJob]) -> EndedParts:
    """Enters the parts of a split, which nobody can claim yet, in transactions that leave room for others.

    Returns:
        Those whose result is known, which ended as they were entered.
    """
    known = EndedParts()
    for start in range(0, len(children), BATCH):
        batch = children[start : start + BATCH]
        with writing(engine) as connection:
            if not is_ours(connection, claimed):
                return known  # which the finish will find as well
            if not start:
                connection.execute(delete(jobs).where(jobs.c.parent_id == claimed.job_id))  # an earlier attempt's
            for index, child in enumerate(batch, start):
                part = replace(child, tenant=claimed.tenant, parent_id=claimed.job_id, shard_index=index)
                if enter(connection, part, is_held=True):
                    known = EndedParts(known.done + 1, 0, known.work + child.work)
    return known


def release_parts(connection: Connection, claimed: Claim, parts: Sequence[NewJob], known: EndedParts) -> int:
    """Makes a complete split claimable; returns how many workers to wake."""
    held = and_(jobs.c.parent_id == claimed.job_id, jobs.c.not_before == HELD_UNTIL)
    connection.execute(update(jobs).where(held).values(not_before=None))
    # Where the results of all parts are known, or there is none, the merge is next.
    merge = (known.done or not parts) and count_children(connection, claimed.job_id, known)
    return len(parts) - known.done + bool(merge)
