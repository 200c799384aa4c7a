"""What an attempt leaves for the next one: one place a job, written by whoever has the job."""

import pytest
from sqlalchemy import Connection, Engine, select

from storage.database import reading, writing
from storage.ledger import jobs, recovery
from storage.ledger.checkpoints import find_checkpoint, forget_checkpoint, set_checkpoint
from storage.ledger.claims import Succeeded, finish
from storage.tables import job_artifacts
from storage.tables import jobs as table
from tests.storage.helpers import TENANT, digest, expire_leases, stored, submit, succeed, take

ONE, TWO = digest("one"), digest("two")


def test_the_last_one_counts_and_the_one_before_is_told(engine: Engine) -> None:
    job_id = submit(engine)
    claimed = take(engine)
    assert find_checkpoint(engine, job_id) is None
    assert set_checkpoint(engine, claimed, ONE) is None
    assert set_checkpoint(engine, claimed, ONE) is None
    assert set_checkpoint(engine, claimed, TWO) == ONE
    assert find_checkpoint(engine, job_id) == TWO


def forget(engine: Engine, job_id: str) -> list[str]:
    with writing(engine) as connection:
        return forget_checkpoint(connection, job_id)


def test_it_is_forgotten_once_the_job_has_ended(engine: Engine) -> None:
    job_id = submit(engine)
    claimed = take(engine)
    set_checkpoint(engine, claimed, ONE)
    assert forget(engine, job_id) == []
    assert find_checkpoint(engine, job_id) == ONE
    succeed(engine, claimed)
    assert forget(engine, job_id) == [ONE]
    assert forget(engine, job_id) == []
    assert find_checkpoint(engine, job_id) is None


def test_it_is_forgotten_with_the_finish_or_not_at_all(engine: Engine) -> None:
    job_id = submit(engine)
    claimed = take(engine)
    set_checkpoint(engine, claimed, ONE)

    def broken(connection: Connection) -> None:
        assert forget_checkpoint(connection, job_id) == [ONE]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        finish(engine, claimed, Succeeded({}), also=broken)
    assert find_checkpoint(engine, job_id) == ONE


def test_the_next_attempt_finds_it_and_the_lost_one_can_write_no_more(engine: Engine) -> None:
    job_id = submit(engine)
    lost = take(engine)
    set_checkpoint(engine, lost, ONE)
    expire_leases(engine)
    assert recovery.recover(engine).requeued == 1
    assert set_checkpoint(engine, lost, TWO) == TWO
    second = take(engine)
    assert find_checkpoint(engine, job_id) == ONE
    assert set_checkpoint(engine, lost, TWO) == TWO
    assert find_checkpoint(engine, job_id) == ONE
    assert set_checkpoint(engine, second, TWO) == ONE


def test_jobs_have_places_of_their_own_beside_inputs_and_outputs(engine: Engine) -> None:
    file = stored("one")
    first, second = submit(engine, inputs=(file,)), submit(engine)
    one, two = take(engine), take(engine)
    set_checkpoint(engine, one, file.sha256)
    set_checkpoint(engine, two, TWO)
    succeed(engine, one)
    assert forget(engine, first) == [file.sha256]
    assert find_checkpoint(engine, second) == TWO
    succeed(engine, two, file)
    with reading(engine) as connection:
        rows = connection.execute(select(job_artifacts.c.job_id, job_artifacts.c.role)).all()
    assert sorted(rows) == sorted([(first, "input"), (second, "checkpoint"), (second, "output")])


def test_it_goes_with_its_job(engine: Engine) -> None:
    job_id = submit(engine)
    set_checkpoint(engine, take(engine), ONE)
    with writing(engine) as connection:
        connection.execute(table.delete().where(table.c.id == job_id))
    assert jobs.find(engine, TENANT, job_id) is None
    assert find_checkpoint(engine, job_id) is None
