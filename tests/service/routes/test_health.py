"""What the service says of itself, to programs and to people."""

import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import Column, update

from attribution_contracts.methods import METHODS
from attribution_contracts.problems import ErrorCode
from attribution_contracts.version import VERSION
from service.http.problems import OF_JOBS, STATUS
from service.routes.health import unseen
from storage import tables
from storage.database import writing
from storage.migrate import newest_revision
from tests.service.house import SELF_TEST, House, picture, refused

ROOT = Path(__file__).parents[3]


def test_it_is_alive_and_ready(house: House) -> None:
    house.show_worker()
    assert house.http.get("/healthz").json() == {"status": "ok"}
    ready = house.http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["status"] == "ready"
    assert all(ready.json()[part]["ok"] for part in ("ledger", "store", "broker", "workers"))


def test_a_store_that_has_none_of_the_newest_artefacts_makes_it_degraded(house: House) -> None:
    house.show_worker()
    image = house.http.post("/v1/images", content=picture(), headers={"content-type": "image/png"}).json()
    for file in house.settings.resolved_data_dir.rglob(image["sha256"]):
        file.unlink()
    assert house.http.get("/readyz").json()["status"] == "ready", "a worker may be about to store it"
    age(house, tables.artifacts.c.created_at, 75)
    ready = house.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"], ready.json()["store"]["ok"]) == (200, "degraded", False)
    assert "has none of the newest 1 artefacts of the ledger" in ready.json()["store"]["detail"]
    assert house.submit(**SELF_TEST).status_code == 202


def test_a_gateway_that_is_young_says_since_when_it_looks() -> None:
    assert unseen(5.2) == "no worker was seen since this gateway started 5 s ago"
    assert unseen(75) == "no worker was seen for 60 s"


def age(house: House, column: Column[float], by_s: float) -> None:
    with writing(house.engine) as connection:
        connection.execute(update(column.table).values({column: column - by_s}))


def workers(house: House) -> tuple[int, str, bool, str]:
    ready = house.http.get("/readyz")
    look = ready.json()["workers"]
    return ready.status_code, ready.json()["status"], look["ok"], look["detail"]


def test_without_a_worker_for_a_minute_it_is_degraded_with_the_reason(house: House) -> None:
    nobody = "no worker was seen since this gateway started "
    assert workers(house)[:3] == (200, "degraded", False)
    assert workers(house)[3].startswith(nobody)
    house.show_worker()
    assert workers(house) == (200, "ready", True, "1 worker is there")
    age(house, tables.workers.c.seen_at, 75)
    assert workers(house)[3].startswith(nobody)
    assert house.submit(**SELF_TEST).status_code == 202
    age(house, tables.jobs.c.queued_at, 75)
    assert " s ago, and a job has waited for 75 s: start `attribution worker` with this ledger" in workers(house)[3]


def test_workers_that_take_no_job_make_it_degraded_with_the_reason(house: House) -> None:
    house.show_worker()
    assert house.submit(**SELF_TEST).status_code == 202
    age(house, tables.jobs.c.queued_at, 75)
    _, status, _, detail = workers(house)
    assert status == "degraded"
    assert "1 worker is there, and a job has waited for 75 s while none was taken: see whether" in detail
    house.succeed(house.claim())
    assert workers(house)[1] == "ready"


def test_it_says_its_version(unharmed: House) -> None:
    answer = unharmed.http.get("/v1/version").json()
    assert answer == {"version": VERSION, "ledger_revision": newest_revision()}
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_the_catalogue_has_every_method(unharmed: House) -> None:
    methods = {method["id"]: method for method in unharmed.http.get("/v1/methods").json()["methods"]}
    assert methods.keys() == METHODS.keys()
    for method in methods.values():
        Draft202012Validator.check_schema(method["parameters"])
        assert method["summary"]
        assert method["guarantee"]
        assert method["cost_class"]
        assert method["version"] >= 1
    schema = Draft202012Validator(methods["integrated_gradients"]["parameters"])
    assert schema.is_valid({"method": "integrated_gradients", "n_steps": 8})
    assert not schema.is_valid({"method": "integrated_gradients", "n_steps": 0})


@pytest.mark.parametrize("path", ["/", "/docs", "/problems", "/problems/invalid_request"])
def test_pages_need_nothing_from_elsewhere(unharmed: House, path: str) -> None:
    page = unharmed.http.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "<script" not in page.text
    ours = str(unharmed.http.base_url).rstrip("/")  # in lines of curl
    assert "http://" not in page.text.replace("http://json-schema.org", "").replace(ours, "")
    assert "https://" not in page.text


def test_links_on_the_first_page_lead_somewhere(unharmed: House) -> None:
    page = unharmed.http.get("/").text
    links = {part.split('"')[0] for part in page.split('href="')[1:]}
    assert {"/docs", "/v1/methods", "/openapi.json", "/problems"} <= links
    for link in links:
        assert unharmed.http.get(link).status_code == 200, link


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_problem_has_a_page(unharmed: House, code: ErrorCode) -> None:
    assert code.value in unharmed.http.get(f"/problems/{code.value}").text
    assert (code in STATUS) != (code in OF_JOBS)


def test_an_unknown_problem_has_none(unharmed: House) -> None:
    refused(unharmed.http.get("/problems/nonsense"), 404, "not_found")
