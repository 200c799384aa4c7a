"""What the service says of itself, to programs and to people."""

import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import update

from attribution_contracts.methods import METHODS
from attribution_contracts.problems import ErrorCode
from attribution_contracts.version import VERSION
from service.http.problems import OF_JOBS, STATUS
from storage.database import writing
from storage.migrate import newest_revision
from storage.tables import jobs
from tests.service.house import SELF_TEST, House, refused

ROOT = Path(__file__).parents[3]


def test_it_is_alive_and_ready(house: House) -> None:
    assert house.http.get("/healthz").json() == {"status": "ok"}
    ready = house.http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["status"] == "ready"
    assert all(ready.json()[part]["ok"] for part in ("ledger", "store", "broker", "workers"))


def test_a_job_that_no_worker_takes_for_a_minute_makes_it_degraded_with_the_reason(house: House) -> None:
    assert house.http.get("/readyz").json()["workers"] == {"ok": True, "detail": "no job waits in vain"}
    assert house.submit(**SELF_TEST).status_code == 202
    with writing(house.engine) as connection:
        connection.execute(update(jobs).values(queued_at=jobs.c.queued_at - 75))
    ready = house.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert "no worker was seen for 60 s, and a job has waited for 75 s" in ready.json()["workers"]["detail"]
    house.succeed(house.claim())
    assert house.http.get("/readyz").json()["status"] == "ready"


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
