"""The queue: messages only wake, so losing the broker costs time and nothing else."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import redis

from attribution_contracts.queue import KEY_PREFIX, QUEUE, RUN_JOBS
from storage.broker.private import PrivateBroker
from storage.broker.queue import Queue, celery_app, normalised
from storage.settings import Settings


@pytest.fixture
def private(tmp_path: Path) -> Iterator[PrivateBroker]:
    one = PrivateBroker(tmp_path)
    one.start()
    yield one
    one.stop()


@pytest.fixture
def queue(private: PrivateBroker) -> Iterator[Queue]:
    one = queue_at(private.url)
    yield one
    one.close()


@pytest.fixture
def client(private: PrivateBroker) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=private.url.removeprefix("redis+socket://")) as one:
        yield one


def queue_at(url: str) -> Queue:
    return Queue(celery_app(url, Settings()))


def test_counts_what_lies_in_it(queue: Queue) -> None:
    assert queue.depth() == 0
    assert queue.wake("job_1")
    assert queue.depth() == 1
    assert queue.wake(count=4)
    assert queue.depth() == 5
    assert queue.wake(count=0)
    assert queue.depth() == 5


def test_a_message_names_task_and_job_in_json(queue: Queue, client: redis.Redis) -> None:
    queue.wake("job_1")
    [message] = client.lrange(KEY_PREFIX + QUEUE, 0, -1)
    with queue._app.connection_for_read() as connection, connection.SimpleQueue(QUEUE) as simple:
        received = simple.get(timeout=5)
        assert (received.headers["task"], received.payload[0]) == (RUN_JOBS, ["job_1"])
        assert received.content_type == "application/json"
        received.ack()
    assert b'"content-type": "application/json"' in message


def messages(client: redis.Redis) -> list[dict]:
    """What lies in the broker, the oldest first, without what differs from message to message."""
    found = [json.loads(message) for message in reversed(client.lrange(KEY_PREFIX + QUEUE, 0, -1))]
    for message in found:
        own_id = message["headers"].pop("id")
        assert message["headers"].pop("root_id") == message["properties"].pop("correlation_id") == own_id
        message["properties"].pop("delivery_tag")
    return found


def test_a_message_is_the_one_that_celery_would_send(queue: Queue, client: redis.Redis) -> None:
    queue._app.send_task(RUN_JOBS, args=("job_1",), queue=QUEUE, retry=False, ignore_result=True)
    queue.wake("job_1")
    queue.wake_each(["job_1", "job_1"])
    [theirs, *ours] = messages(client)
    assert ours == [theirs] * 3


def test_each_job_has_a_message_in_the_order_given(queue: Queue, client: redis.Redis) -> None:
    names = [f"job_{number}" for number in range(5)]
    assert queue.wake_each(names)
    assert [message["headers"]["argsrepr"] for message in messages(client)] == [f"('{name}',)" for name in names]
    assert queue.wake_each([])
    assert queue.depth() == 5


def test_every_key_carries_the_prefix(queue: Queue, client: redis.Redis) -> None:
    client.set("somebody else's", "1")
    queue.wake()
    with queue._app.connection_for_read() as connection, connection.SimpleQueue(QUEUE) as simple:
        simple.get(timeout=5)
        keys = {key.decode() for key in client.scan_iter("*")} - {"somebody else's"}
    assert KEY_PREFIX + "unacked" in keys
    assert all(key.startswith(KEY_PREFIX) for key in keys)


def test_many_threads_wake_at_once(queue: Queue) -> None:
    with ThreadPoolExecutor(32) as threads:
        assert all(threads.map(lambda _: queue.wake(), range(200)))
    assert queue.depth() == 200


def test_a_flushed_broker_takes_the_next_message(queue: Queue, client: redis.Redis) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: queue.wake(), range(32)))
        client.flushall()
        assert queue.depth() == 0
        list(threads.map(lambda _: queue.wake(), range(32)))
    assert queue.depth() == 32


def quickly(call, limit_s: float = 3.0):
    start = time.monotonic()
    try:
        return call()
    finally:
        assert time.monotonic() - start < limit_s


def test_a_broker_that_goes_and_comes_back(queue: Queue, private: PrivateBroker) -> None:
    queue.wake()
    os.kill(private.pid, signal.SIGKILL)
    for count in (1, 1, 3):
        assert quickly(partial(queue.wake, count=count)) is False
    with pytest.raises(ConnectionError, match="the broker answered"):
        quickly(queue.depth)
    private.start()
    assert queue.wake()
    assert queue.depth() == 2


def test_a_broker_that_hangs_costs_a_few_seconds(queue: Queue, private: PrivateBroker) -> None:
    queue.wake()
    os.kill(private.pid, signal.SIGSTOP)
    try:
        assert quickly(queue.wake, limit_s=5) is False
    finally:
        os.kill(private.pid, signal.SIGCONT)
    assert queue.wake()
    assert queue.depth() >= 2


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:9/0",
        "valkey://:password@127.0.0.1:9/0",
        "redis+socket:///nowhere/broker.sock",
        "redis://no.such.host.invalid:6379/0",
        "amqp://guest:guest@127.0.0.1:9//",
    ],
)
def test_a_broker_that_was_never_there(url: str) -> None:
    queue = queue_at(url)
    assert quickly(queue.wake) is False
    with pytest.raises(ConnectionError, match="the broker answered"):
        quickly(queue.depth)
    queue.close()


@pytest.mark.parametrize("setting", [("maxmemory", "1"), ("min-replicas-to-write", "1")])
def test_a_broker_that_refuses_to_write(queue: Queue, client: redis.Redis, setting) -> None:
    queue.wake()
    client.config_set(*setting)
    assert queue.wake() is False
    assert queue.wake(count=2) is False
    client.config_set(setting[0], "0")
    assert queue.wake() is True


def test_a_broker_that_asks_for_a_password(private: PrivateBroker, client: redis.Redis) -> None:
    client.config_set("requirepass", "secret")
    queue = queue_at(private.url)
    assert queue.wake() is False
    with pytest.raises(ConnectionError, match="the broker answered: Authentication required"):
        queue.depth()
    queue.close()
    queue = queue_at(private.url.replace("redis+socket://", "redis+socket://:secret@"))
    assert queue.wake()
    queue.close()


def test_something_else_under_the_queues_key(queue: Queue, client: redis.Redis) -> None:
    client.set(KEY_PREFIX + QUEUE, "not a list")
    assert queue.wake() is False
    with pytest.raises(ConnectionError, match="WRONGTYPE"):
        queue.depth()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("valkey://host:1/2", "redis://host:1/2"),
        ("valkeys://:pw@host", "rediss://:pw@host"),
        ("valkey+socket:///run/broker.sock", "redis+socket:///run/broker.sock"),
        ("redis://valkey://", "redis://valkey://"),
        ("amqp://host//", "amqp://host//"),
    ],
)
def test_urls_that_kombu_knows(given: str, expected: str) -> None:
    assert normalised(given) == expected


def test_the_application_is_set_up_to_lose_nothing() -> None:
    conf = celery_app("redis://host", Settings(job_time_limit_s=77)).conf
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost, conf.worker_prefetch_multiplier) == (True, False, 1)
    assert (conf.accept_content, conf.task_serializer, conf.result_backend) == (["json"], "json", None)
    assert (conf.worker_pool, conf.worker_pool_start_method, conf.worker_concurrency) == ("prefork", "spawn", 1)
    assert (conf.task_time_limit, conf.task_default_queue) == (77, QUEUE)
    assert conf.broker_transport_options["visibility_timeout"] > Settings().job_time_limit_s
