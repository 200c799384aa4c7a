"""Server-sent events, and the poller behind them."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from attribution_contracts.jobs import Progress
from attribution_contracts.states import JobKind
from service.following import events
from service.gateway import watcher
from service.gateway.watcher import Watcher
from storage.artifacts.store import ArtifactStore
from storage.database import LedgerUnavailableError
from storage.ledger.claims import Cancelled, claim, finish, renew
from storage.ledger.jobs import Standing, cancel, remove, standings, submit
from storage.ledger.records import NewJob
from storage.settings import Settings
from storage.tables import DEFAULT_TENANT
from tests.service.house import SELF_TEST, House, refused, running


def parsed(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """Events as a browser would see them; comments by the name `comment`."""
    event: dict[str, Any] = {}
    for line in response.iter_lines():
        if line == "":
            yield event
            event = {}
        else:
            name, _, value = line.partition(":")
            event[name or "comment"] = value.strip()


def test_every_change_is_an_event_and_the_end_is_the_end(house: House) -> None:
    links = house.submit(**SELF_TEST).json()["links"]
    with house.http.stream("GET", links["events"]) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        stream = parsed(response)
        first = next(stream)
        assert json.loads(first["data"])["status"] == "queued"
        claimed = house.claim()
        assert json.loads(next(stream)["data"])["status"] == "running"
        renew(house.engine, claimed, lease_s=60, progress=Progress(done=1, total=2, stage="explaining"))
        assert json.loads(next(stream)["data"])["progress"] == {"done": 1, "total": 2, "stage": "explaining"}
        house.succeed(claimed)
        last = next(stream)
        assert json.loads(last["data"])["status"] == "succeeded"
        assert json.loads(last["data"])["version"] == int(last["id"]) > int(first["id"])
        assert list(stream) == []
    after = house.http.get(links["events"], headers={"Last-Event-ID": last["id"]})
    assert after.status_code == 204


def test_a_listener_that_comes_back_misses_nothing(house: House) -> None:
    links = house.submit(**SELF_TEST).json()["links"]
    house.succeed(house.claim())
    [event] = parsed(house.http.get(links["events"], headers={"Last-Event-ID": "1"}))
    assert json.loads(event["data"])["status"] == "succeeded"
    [event] = parsed(house.http.get(links["events"], headers={"Last-Event-ID": "nonsense"}))
    assert json.loads(event["data"])["status"] == "succeeded"


def test_an_idle_stream_has_a_heartbeat(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    links = house.submit(**SELF_TEST).json()["links"]
    with house.http.stream("GET", links["events"]) as response:
        stream = parsed(response)
        assert "data" in next(stream)
        assert next(stream).keys() == {"comment"}
        house.http.post(links["cancel"])
        assert json.loads(next(event for event in stream if "data" in event)["data"])["status"] == "cancelled"


def test_many_listeners_share_one_poller(house: House) -> None:
    links = house.submit(**SELF_TEST).json()["links"]
    seen: list[str] = []

    def listen() -> None:
        with house.http.stream("GET", links["events"]) as response:
            for event in parsed(response):
                seen.append(json.loads(event["data"])["status"])  # noqa: PERF401 - read while it grows

    threads = [threading.Thread(target=listen) for _ in range(20)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while seen.count("queued") < 20:
        assert time.monotonic() < deadline, seen
        time.sleep(0.01)
    house.http.post(links["cancel"])
    for thread in threads:
        thread.join(10)
    assert seen.count("cancelled") == 20


def test_the_end_of_the_service_lets_listeners_go(
    settings: Settings, engine: Engine, store: ArtifactStore, broker: str
) -> None:
    ended = threading.Event()

    def listen(url: str) -> None:
        with httpx.stream("GET", url, timeout=20) as response:
            for _ in response.iter_lines():
                begun.set()
        ended.set()

    begun = threading.Event()
    with running(settings, engine, store, broker) as house:
        links = house.submit(**SELF_TEST).json()["links"]
        threading.Thread(target=listen, args=(f"{house.http.base_url}{links['events']}",)).start()
        assert begun.wait(30)
        leaving = time.monotonic()
    assert ended.wait(30)
    assert time.monotonic() - leaving < 30


def test_nobody_follows_what_is_not_there(unharmed: House) -> None:
    refused(unharmed.http.get("/v1/jobs/job_x/events"), 404, "not_found")


def a_job(engine: Engine) -> NewJob:
    new = NewJob(kind=JobKind.SELF_TEST, request={})
    submit(engine, new)
    return new


def test_a_change_is_noticed_at_once(engine: Engine) -> None:
    async def wait() -> float:
        watcher, new = Watcher(engine), a_job(engine)
        waiting = asyncio.create_task(watcher.changed(new.id, 1, 10))
        await asyncio.sleep(0.3)
        claim(engine, "w", limit=1, lease_s=9)
        changed = time.monotonic()
        assert await waiting
        return time.monotonic() - changed

    assert asyncio.run(wait()) < 8  # the time is up after 10


def test_nothing_changes_until_the_time_is_up(engine: Engine) -> None:
    async def wait() -> bool:
        return await Watcher(engine).changed(a_job(engine).id, 1, 0.2)

    assert asyncio.run(wait()) is False


def test_a_job_that_goes_away_has_changed(engine: Engine) -> None:
    async def wait() -> bool:
        watcher, new = Watcher(engine), a_job(engine)
        cancel(engine, DEFAULT_TENANT, new.id)
        waiting = asyncio.create_task(watcher.changed(new.id, 2, 10))
        await asyncio.sleep(0.05)
        assert remove(engine, DEFAULT_TENANT, new.id)
        return await waiting

    assert asyncio.run(wait()) is True


def test_who_waits_for_the_end_is_not_told_of_what_comes_before(engine: Engine) -> None:
    async def wait() -> list[bool]:
        watcher, new = Watcher(engine), a_job(engine)
        change, end = (
            asyncio.create_task(watcher.changed(new.id, 1, 10)),
            asyncio.create_task(watcher.ended(new.id, 10)),
        )
        await asyncio.sleep(0.05)
        [claimed] = claim(engine, "w", limit=1, lease_s=9)
        assert await change
        assert not end.done()
        finish(engine, claimed, Cancelled())
        return [await end, await watcher.ended(new.id, 10)]

    assert asyncio.run(wait()) == [True, True]


def test_an_outage_of_the_ledger_hides_no_change(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def failing_first(*args: Any) -> dict[str, Standing]:
        looks.append(1)
        if len(looks) == 1:
            raise LedgerUnavailableError("away")
        return standings(*args)

    monkeypatch.setattr(watcher, "standings", failing_first)
    monkeypatch.setattr(watcher, "FAILED_S", 0.01)

    async def wait() -> bool:
        new = a_job(engine)
        claim(engine, "w", limit=1, lease_s=9)
        return await Watcher(engine).changed(new.id, 1, 10)

    assert asyncio.run(wait())


def test_closing_lets_everybody_go(engine: Engine) -> None:
    async def wait() -> list[bool]:
        watcher, new = Watcher(engine), a_job(engine)
        waiting = [asyncio.create_task(watcher.changed(new.id, 1, 10)) for _ in range(3)]
        await asyncio.sleep(0.05)
        watcher.close()
        return [*await asyncio.gather(*waiting), await watcher.changed(new.id, 1, 10)]

    assert asyncio.run(wait()) == [False] * 4
