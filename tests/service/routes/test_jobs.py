"""Looking at jobs, listing, cancelling, deleting them, and fetching their results."""

import io
import json
import zipfile

import pytest

from attribution_contracts.problems import ErrorCode, problem
from storage.ledger.claims import Cancelled, Failed
from tests.service.house import IG, SELF_TEST, House, picture, refused, sent


def test_an_unchanged_job_is_not_sent_again(house: House) -> None:
    path = house.submit(**SELF_TEST).json()["links"]["self"]
    first = house.http.get(path)
    assert first.headers["Retry-After"] == "1"
    etag = first.headers["ETag"]
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        again = house.http.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == etag
    house.succeed(house.claim())
    ended = house.http.get(path, headers={"If-None-Match": etag})
    assert ended.status_code == 200
    assert ended.headers["ETag"] != etag
    assert "Retry-After" not in ended.headers


def test_a_result_comes_when_the_job_has_ended(house: House) -> None:
    links = house.submit(**SELF_TEST).json()["links"]
    early = house.http.get(links["result"])
    refused(early, 409, "result_not_ready")
    assert early.headers["Retry-After"] == "1"
    assert early.json()["retryable"]
    result = house.succeed(house.claim())
    assert house.http.get(links["result"]).json() == result.model_dump(mode="json")


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_a_job_may_end_without_a_result(house: House, how: str) -> None:
    links = house.submit(**SELF_TEST).json()["links"]
    reason = problem(ErrorCode.SELF_TEST_FAILURE, "told to fail")
    house.finish(house.claim(), Failed(reason) if how == "failed" else Cancelled())
    for path in (links["result"], links["self"] + "/artifacts.zip"):
        answer = house.http.get(path)
        refused(answer, 410, "job_ended_without_result")
        assert how in answer.json()["detail"]
        assert ("told to fail" in answer.json()["detail"]) == (how == "failed")
        assert "Retry-After" not in answer.headers


def test_everything_comes_in_one_archive(house: House) -> None:
    links = house.submit(**SELF_TEST).json()["links"]
    files = {"heat.png": picture(), "map.npy": b"\x93NUMPY" + bytes(3_000_000), "../../evil.sh": b"rm"}
    result = house.succeed(house.claim(), files)
    answer = house.http.get(links["self"] + "/artifacts.zip")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {"result.json", "heat.png", "map.npy", "evil.sh"}
        assert archive.read("map.npy") == files["map.npy"]
        assert json.loads(archive.read("result.json")) == result.model_dump(mode="json")
    assert len(answer.content) < 100_000
    assert house.http.get(links["self"] + "/artifacts.zip").content == answer.content


def test_files_of_one_name_are_all_kept(house: House) -> None:
    links = house.submit(**SELF_TEST).json()["links"]
    house.succeed(house.claim(), {"a/../b.png": b"1", "b.png": b"2", "./b.png": b"3"})
    with zipfile.ZipFile(io.BytesIO(house.http.get(links["self"] + "/artifacts.zip").content)) as archive:
        assert sorted(archive.read(name) for name in archive.namelist() if name != "result.json") == [b"1", b"2", b"3"]


def test_an_archive_with_a_file_missing_is_a_problem(house: House) -> None:
    links = house.submit(**SELF_TEST).json()["links"]
    result = house.succeed(house.claim(), {"heat.png": picture()})
    for file in house.settings.resolved_data_dir.rglob(result.artifacts[0].sha256):
        file.unlink()
    refused(house.http.get(links["self"] + "/artifacts.zip"), 500, "artifact_missing")


def test_cancelling_twice_is_cancelling_once(house: House) -> None:
    links = house.submit(**SELF_TEST).json()["links"]
    first = house.http.post(links["cancel"])
    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert house.http.post(links["cancel"]).json() == first.json()


def test_a_running_job_is_told_to_stop(house: House) -> None:
    links = house.submit(**SELF_TEST).json()["links"]
    claimed = house.claim()
    asked = house.http.post(links["cancel"]).json()
    assert (asked["status"], asked["cancel_requested"]) == ("running", True)
    house.finish(claimed, Cancelled())
    assert house.http.get(links["self"]).json()["status"] == "cancelled"


def test_only_an_ended_job_is_deleted(house: House) -> None:
    links = house.submit(**SELF_TEST).json()["links"]
    refused(house.http.delete(links["self"]), 409, "conflict")
    house.succeed(house.claim())
    gone = house.http.delete(links["self"])
    assert (gone.status_code, gone.content) == (204, b"")
    refused(house.http.delete(links["self"]), 404, "not_found")
    refused(house.http.get(links["result"]), 404, "not_found")


def test_jobs_are_listed_by_pages_newest_first(house: House) -> None:
    made = [house.submit(**SELF_TEST).json()["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        page = house.http.get("/v1/jobs", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
    assert seen == made[::-1]


def test_a_listing_is_narrowed(house: House) -> None:
    house.add_model()
    tested = house.submit(**SELF_TEST, labels={"team": "a:b"}).json()["id"]
    explained = house.submit(model="digits", inputs=[sent()], explanation=IG, labels={"team": "c"}).json()["id"]
    house.http.post(f"/v1/jobs/{tested}/cancel")

    def listed(**query: str) -> set[str]:
        return {job["id"] for job in house.http.get("/v1/jobs", params=query).json()["jobs"]}

    assert listed(status="cancelled") == listed(method="self_test") == listed(label="team:a:b") == {tested}
    assert listed(model="digits") == listed(model="digits@1", status="queued") == listed(label="team:c") == {explained}
    assert listed(label="team:x") == listed(model="other") == set()
