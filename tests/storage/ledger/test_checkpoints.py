"""What an attempt leaves for the next one: one place a job, written by whoever has the job."""

from sqlalchemy import Engine, select

from storage.database import reading, writing
from storage.ledger import jobs, recovery
from storage.ledger.checkpoints import find_checkpoint, set_checkpoint
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
    assert set_checkpoint(engine, claimed, None) == TWO
    assert set_checkpoint(engine, claimed, None) is None
    assert find_checkpoint(engine, job_id) is None


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
    assert set_checkpoint(engine, lost, None) is None
    assert find_checkpoint(engine, job_id) == ONE
    assert set_checkpoint(engine, second, TWO) == ONE


def test_jobs_have_places_of_their_own_beside_inputs_and_outputs(engine: Engine) -> None:
    file = stored("one")
    first, second = submit(engine, inputs=(file,)), submit(engine)
    one, two = take(engine), take(engine)
    set_checkpoint(engine, one, file.sha256)
    set_checkpoint(engine, two, TWO)
    assert set_checkpoint(engine, one, None) == file.sha256
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
