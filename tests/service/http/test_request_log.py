"""One line a request, without what was in it."""

import logging
import re

import pytest

from service.http import request_log
from tests.service.house import SELF_TEST, House

LINE = re.compile(r"(\S+) (\S+) (\S+) \d+\.\d ms (\d+) bytes (\S+)")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, request_log.__name__)
    return caplog


def told(lines: pytest.LogCaptureFixture) -> list[tuple[str, ...]]:
    """Verb, path, status, bytes and id of each line, in their order."""
    found = [LINE.fullmatch(record.getMessage()) for record in lines.records if record.name == request_log.__name__]
    return [line.groups() for line in found if line is not None]


def test_a_request_is_one_line_with_the_pattern_of_its_route(house: House, lines: pytest.LogCaptureFixture) -> None:
    job = house.submit(**SELF_TEST).json()["id"]
    answer = house.http.get(f"/v1/jobs/{job}?secret=word", headers={"X-Request-ID": "mine"})
    house.http.head(f"/v1/jobs/{job}")
    house.http.get("/no/such/route?secret=word")
    house.http.post("/v1/jobs", content=b"{", headers={"Content-Type": "application/json"})
    ends = [line[:3] for line in told(lines)]
    assert ends == [
        ("POST", "/v1/jobs", "202"),
        ("GET", "/v1/jobs/{job_id}", "422"),  # which has no parameter of that name
        ("HEAD", "/v1/jobs/{job_id}", "200"),
        ("GET", "-", "404"),
        ("POST", "/v1/jobs", "400"),
    ]
    assert told(lines)[1][3:] == (str(len(answer.content)), "mine")
    assert "secret" not in lines.text
    assert job not in lines.text


def test_probes_are_told_at_debug_alone(unharmed: House, lines: pytest.LogCaptureFixture) -> None:
    for path in request_log.PROBES:
        unharmed.http.get(path)
    assert told(lines) == []
    lines.set_level(logging.DEBUG, request_log.__name__)
    for path in request_log.PROBES:
        unharmed.http.get(path)
    assert {line[1] for line in told(lines)} == request_log.PROBES


def test_a_level_above_leaves_requests_out(unharmed: House, lines: pytest.LogCaptureFixture) -> None:
    lines.set_level(logging.WARNING, request_log.__name__)
    unharmed.http.get("/v1/methods")
    assert told(lines) == []
