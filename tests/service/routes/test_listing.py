"""Lists of models, versions and data sets come in pages."""

import pytest

from attribution_client import Client
from storage.registry import versions
from tests.service.house import IG, House, refused, sent
from tests.service.submission.test_tasks import FIT, register

LISTS = {"/v1/models": "models", "/v1/models/m/versions": "models", "/v1/datasets": "datasets"}


def fill(house: House, path: str, count: int) -> list[str]:
    """Versions to be listed, by age."""
    names = [str(count - number) for number in range(count)]
    for version in names:
        if path == "/v1/datasets":
            register(house, "d", version)
        else:
            house.register("m", version)
    return names


@pytest.mark.parametrize("path", LISTS)
def test_every_version_is_on_one_page(house: House, path: str) -> None:
    names, seen = fill(house, path, 5), list[str]()
    query: dict[str, str] = {"limit": "2"}
    while True:
        page = house.http.get(path, params=query).json()
        assert set(page) == {LISTS[path], "next_cursor"}
        assert len(page[LISTS[path]]) <= 2
        seen += [one["version"] for one in page[LISTS[path]]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == names


@pytest.mark.parametrize("path", LISTS)
def test_who_asks_for_no_page_gets_the_first(house: House, path: str) -> None:
    names = fill(house, path, 21)
    page = house.http.get(path).json()
    assert [one["version"] for one in page[LISTS[path]]] == names[:20]
    rest = house.http.get(path, params={"cursor": page["next_cursor"]}).json()
    assert [one["version"] for one in rest[LISTS[path]]] == names[20:]
    with Client(str(house.http.base_url)) as client:
        listed = client.datasets() if path == "/v1/datasets" else client.models()
    assert [one.version for one in listed] == names


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("name", "value"), [("limit", "0"), ("limit", "101"), ("limit", "x"), ("cursor", "bm9uZQ=="), ("cursor", "?")]
)
def test_a_wrong_page_is_refused(house: House, path: str, name: str, value: str) -> None:
    fill(house, path, 1)
    assert list(refused(house.http.get(path, params={name: value}), 422, "invalid_request")) == [f"/query/{name}"]


def test_no_version_of_an_unknown_model(house: House) -> None:
    refused(house.http.get("/v1/models/none/versions"), 404, "not_found")


def test_a_hint_looks_at_a_few_names(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "NEAR", 3)
    for name in ("a", "b", "digits", "digitz", "y", "z", "zz"):
        house.register(name)
    answer = house.submit(model="digit", inputs=[sent()], explanation=IG)
    assert "did you mean 'digits' or 'digitz'" in refused(answer, 422, "unknown_model")["/model"]
    house.add_model(version="3")
    answer = house.submit(model="digits@2", dataset="flower", task=FIT)
    assert "'digits@3'" in refused(answer, 422, "unknown_model")["/model"]
