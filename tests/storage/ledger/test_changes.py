"""Whether anything was written."""

from sqlalchemy import Engine

from storage.database import takes_turns
from storage.ledger.changes import Changes
from tests.storage.helpers import submit, take


def test_what_others_write_is_seen_once(engine: Engine) -> None:
    changes = Changes(engine)
    assert changes.is_cheap == takes_turns(engine)
    assert changes.has_any(), "nothing is known at first"
    assert changes.has_any() != changes.is_cheap
    submit(engine)
    take(engine)
    assert changes.has_any()
    assert changes.has_any() != changes.is_cheap
    changes.close()
    assert changes.has_any(), "nothing is known of the time between"
    changes.close()


def test_a_ledger_that_cannot_be_read_may_have_changed(engine: Engine) -> None:
    changes = Changes(engine)
    changes.has_any()
    if changes._connection is not None:
        changes._connection.dbapi_connection.close()
    assert changes.has_any()
    assert changes.has_any()
    changes.close()
