"""Fetching artefacts: whole, in part, or not at all."""

import hashlib

import pytest

from tests.service.house import SELF_TEST, House, picture, refused

LARGE = bytes(range(256)) * 10_000  # more than one chunk of the store


@pytest.fixture
def digest(house: House) -> str:
    """A raw map that a job made."""
    house.submit(**SELF_TEST)
    return house.succeed(house.claim(), {"map.npy": LARGE}).artifacts[0].sha256


def test_an_upload_comes_back_as_it_was(house: House) -> None:
    image = picture()
    uploaded = house.http.post("/v1/images", content=image, headers={"content-type": "image/png"})
    assert uploaded.status_code == 201
    assert uploaded.json()["sha256"] == hashlib.sha256(image).hexdigest()
    found = house.http.get(uploaded.headers["Location"])
    assert found.content == image
    assert found.headers["content-type"] == "image/png"
    assert found.headers["ETag"] == f'"{uploaded.json()["sha256"]}"'
    assert "immutable" in found.headers["Cache-Control"]
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert found.headers["Content-Disposition"].startswith("inline; filename=")
    again = house.http.post("/v1/images", files={"image": ("x.png", image, "image/png")})
    assert again.json() == uploaded.json()
    assert house.counts()["artifacts"] == 1


def test_a_raw_map_is_a_download(house: House, digest: str) -> None:
    found = house.http.get(f"/v1/artifacts/{digest}")
    assert found.content == LARGE
    assert found.headers["Content-Length"] == str(len(LARGE))
    assert found.headers["Content-Disposition"].startswith("attachment; filename=")
    assert "sandbox" in found.headers["Content-Security-Policy"]


def test_a_page_is_a_download_and_may_do_nothing_on_the_services_origin(house: House) -> None:
    house.submit(**SELF_TEST)
    [file] = house.succeed(house.claim(), {"sheet.html": b"<!doctype html><script>alert(1)</script>"}).artifacts
    found = house.http.get(file.href)
    assert found.headers["Content-Type"].startswith("text/html")
    assert found.headers["Content-Disposition"].startswith("attachment; filename=")
    assert found.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert found.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=2559990-", 2_559_990, 2_560_000),
        ("bytes=-5", 2_559_995, 2_560_000),
        ("bytes=-99999999", 0, 2_560_000),
        ("bytes=5-99999999", 5, 2_560_000),
    ],
)
def test_a_range(house: House, digest: str, asked: str, start: int, end: int) -> None:
    found = house.http.get(f"/v1/artifacts/{digest}", headers={"Range": asked})
    assert found.status_code == 206
    assert found.content == LARGE[start:end]
    assert found.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(LARGE)}"
    assert found.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize("asked", ["bytes=2560000-", "bytes=-0", "bytes=9999999-99999999"])
def test_a_range_outside(house: House, digest: str, asked: str) -> None:
    answer = house.http.get(f"/v1/artifacts/{digest}", headers={"Range": asked})
    refused(answer, 416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(LARGE)}"


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=0-1,3-4", "lines=0-1", "bytes=-", "bytes=x-y", "nonsense"])
def test_other_ranges_are_ignored(house: House, digest: str, asked: str) -> None:
    found = house.http.get(f"/v1/artifacts/{digest}", headers={"Range": asked})
    assert (found.status_code, found.content) == (200, LARGE)


def test_a_range_of_another_version_is_ignored(house: House, digest: str) -> None:
    def status(if_range: str) -> int:
        headers = {"Range": "bytes=0-0", "If-Range": if_range}
        return house.http.get(f"/v1/artifacts/{digest}", headers=headers).status_code

    assert status(f'"{digest}"') == 206
    assert status('"other"') == 200


def test_what_is_there_already_is_not_sent(house: House, digest: str) -> None:
    found = house.http.get(f"/v1/artifacts/{digest}", headers={"If-None-Match": f'"{digest}"'})
    assert (found.status_code, found.content) == (304, b"")


@pytest.mark.parametrize("name", ["0" * 64, "xyz", "A" * 64, "..", "%00"])
def test_what_is_not_there(unharmed: House, name: str) -> None:
    refused(unharmed.http.get(f"/v1/artifacts/{name}"), 404, "not_found")


def test_a_digest_alone_opens_nothing(house: House) -> None:
    unowned = house.store.put(b"somebody else's")
    refused(house.http.get(f"/v1/artifacts/{unowned}"), 404, "not_found")


def test_a_file_that_the_store_lost(house: House, digest: str) -> None:
    for file in house.settings.resolved_data_dir.rglob(digest):
        file.unlink()
    for headers in ({"Range": "bytes=0-0"}, {}):
        answer = house.http.get(f"/v1/artifacts/{digest}", headers=headers)
        refused(answer, 500, "artifact_missing")
        assert answer.json()["retryable"] is False
        assert "retry-after" not in answer.headers
        assert "ATTRIBUTION_ARTIFACT_URL" in answer.json()["detail"]


@pytest.mark.parametrize("parts", [{}, {"a": b"1", "b": b"2"}])
def test_an_upload_is_one_part(unharmed: House, parts: dict[str, bytes]) -> None:
    body = b"".join(b"--x\r\nContent-Disposition: form-data; name=%s\r\n\r\n1\r\n" % name.encode() for name in parts)
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = unharmed.http.post("/v1/images", content=body + b"--x--\r\n", headers=headers)
    refused(answer, 422, "invalid_request")


def test_an_upload_is_an_image(unharmed: House) -> None:
    answer = unharmed.http.post("/v1/images", content=picture(), headers={"content-type": "application/json"})
    refused(answer, 415, "unsupported_media_type")
