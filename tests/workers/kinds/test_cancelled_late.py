"""A cancel is seen wherever a job is long: while images are decoded, files drawn and sheets put together."""

import pytest
from sqlalchemy import select

from storage.database import reading
from storage.ledger.jobs import cancel
from storage.tables import DEFAULT_TENANT, jobs
from tests.workers import own_networks
from tests.workers.sources import zipped
from tests.workers.through_http import picture, weights_of
from workers.drawing.files import Drawn
from workers.jobs import tracking
from workers.kinds import ingest
from workers.models import inputs

PICTURES = [picture(seed) for seed in range(24)]


@pytest.fixture
def ready(through, monkeypatch):
    """With a model, and a worker that reports each step."""
    through.ready("m", "factory:small", weights_of(own_networks.small()))
    monkeypatch.setattr(tracking, "REPORT_EVERY_S", 0.0)
    return through


def cancelled(through) -> None:
    with reading(through.context.engine) as connection:
        running = connection.scalars(select(jobs.c.id).where(jobs.c.status == "running")).all()
    for job_id in running:
        cancel(through.context.engine, DEFAULT_TENANT, job_id)


@pytest.fixture
def puts(ready, monkeypatch):
    """The files that were drawn; after the first that `starts` likes the job is cancelled."""
    keep, names = Drawn.keep, Names()

    def counted(drawn, subject, *files):
        for file in files:
            keep(drawn, subject, file)
            names.append(file.name)
            if names.starts is not None and file.name.startswith(names.starts):
                names.starts = None
                cancelled(ready)

    monkeypatch.setattr(Drawn, "keep", counted)
    return names


class Names(list[str]):
    starts: str | None = None


def test_while_maps_are_drawn(ready, puts):
    job, _ = ready.explain("m", *PICTURES, n_steps=1)
    assert job["status"] == "succeeded"
    whole = len(puts)
    puts.clear()
    puts.starts = ""
    job, result = ready.explain("m", *PICTURES, n_steps=2)
    assert (job["status"], job["progress"]["stage"], result) == ("cancelled", "cancelled", None)
    assert 0 < len(puts) < whole / 2  # what the drawing threads had begun


@pytest.mark.parametrize("name", ["layers", "depth"])
def test_while_charts_and_sheets_are_drawn(ready, puts, name):
    puts.starts = name
    job, _ = ready.explain("m", *PICTURES[:3], method="layer_shapley", n_steps=2)
    assert job["status"] == "cancelled"
    assert len([file for file in puts if file.startswith(name)]) == 1


def test_while_sheets_are_put_side_by_side(ready, puts):
    both = [{"method": "integrated_gradients", "n_steps": steps} for steps in (1, 2)]
    digests = [{"image": ready.context.store.put(one)} for one in PICTURES[:4]]
    for one in PICTURES[:4]:
        ready.http.post("/v1/images", content=one, headers={"content-type": "image/png"})
    puts.starts = "attributions-side-by-side"
    job, _ = ready.ended(ready.submit(model="m", inputs=digests, explanations=both))
    sheets = [file for file in puts if "side-by-side" in file]
    assert (job["status"], len(sheets)) == ("cancelled", 1), puts


def test_while_images_are_decoded(ready, monkeypatch):
    decode, decoded = inputs.decode, []

    def counted(*given, **options):
        decoded.append(given)
        cancelled(ready)
        return decode(*given, **options)

    monkeypatch.setattr(inputs, "decode", counted)
    ready.context.settings = ready.context.settings.model_copy(update={"batch_images": 64})
    job, _ = ready.explain("m", *PICTURES, n_steps=1)
    assert (job["status"], len(decoded)) == ("cancelled", 1)


def test_while_files_of_a_source_are_passed_over(ready, monkeypatch):
    looked, wrong_name = [], ingest.wrong_name

    def counted(name):
        looked.append(name)
        cancelled(ready)
        return wrong_name(name) or "it is none of ours"

    monkeypatch.setattr(ingest, "wrong_name", counted)
    with pytest.raises(AssertionError):
        ready.add_dataset("names", zipped({f"a/{n}.png": b"" for n in range(9)}))
    assert len(looked) == 1
