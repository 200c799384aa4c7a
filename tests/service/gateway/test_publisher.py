"""The thread that publishes wake-ups."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis

from attribution_contracts.queue import KEY_PREFIX, QUEUE
from service.gateway.publisher import Publisher
from storage.broker.private import PrivateBroker
from storage.broker.queue import Queue, celery_app
from storage.settings import Settings


class Watched(Queue):
    """A queue that notes what it is asked to publish at once."""

    def __init__(self, url: str) -> None:
        super().__init__(celery_app(url, Settings()))
        self.asked: list[list[str | None]] = []

    def wake_each(self, job_ids: Sequence[str | None]) -> bool:
        self.asked.append(list(job_ids))
        return super().wake_each(job_ids)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[PrivateBroker]:
    one = PrivateBroker(tmp_path)
    one.start()
    yield one
    one.stop()


def published(broker: PrivateBroker) -> int:
    with redis.Redis(unix_socket_path=broker.url.removeprefix("redis+socket://")) as client:
        return int(client.llen(KEY_PREFIX + QUEUE))


def test_what_is_pending_is_published_in_order_before_the_end(broker: PrivateBroker) -> None:
    queue = Watched(broker.url)
    publisher, names = Publisher(queue), [f"job_{number}" for number in range(100)]
    for name in names:
        publisher.wake(name)
    publisher.close()
    assert [name for together in queue.asked for name in together] == names
    assert published(broker) == 100
    queue.close()


def test_a_lost_broker_is_tried_once_for_all_that_wait(broker: PrivateBroker) -> None:
    queue = Watched(broker.url)
    broker.stop()
    publisher = Publisher(queue)
    for number in range(100):
        publisher.wake(f"job_{number}")
    publisher.close()
    assert 1 <= len(queue.asked) <= 100
    broker.start()
    publisher = Publisher(queue)
    publisher.wake("job_later")
    publisher.close()
    assert queue.asked[-1] == ["job_later"]
    assert published(broker) == 1
    queue.close()


def test_the_end_without_a_beginning(broker: PrivateBroker) -> None:
    queue = Watched(broker.url)
    Publisher(queue).close()
    assert queue.asked == []
    queue.close()
