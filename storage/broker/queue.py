"""The queue: Celery messages that only wake a worker. Losing one delays a job and never loses it."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from celery import Celery
from celery.utils import uuid
from kombu import Producer
from kombu.exceptions import KombuError
from kombu.exceptions import OperationalError as BrokerError

from attribution_contracts.queue import KEY_PREFIX, QUEUE, RUN_JOBS
from storage.settings import Settings

log = logging.getLogger(__name__)

VISIBILITY_TIMEOUT_S = 12 * 3600
"""Longer than any task may run: a message is redelivered by the ledger's reconciler, not by the broker."""


def celery_app(broker_url: str, settings: Settings) -> Celery:
    """The Celery application of publishers and workers alike."""
    app = Celery("attribution", broker=normalised(broker_url), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_backend=None,
        task_ignore_result=True,
        task_default_queue=QUEUE,
        task_create_missing_queues=False,
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        task_publish_retry=False,
        task_time_limit=settings.job_time_limit_s,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_pool="prefork",
        worker_pool_start_method="spawn",
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport_options(broker_url),
    )
    return app


def normalised(broker_url: str) -> str:
    """The URL in a scheme that kombu knows."""
    for ours, theirs in (
        ("valkeys://", "rediss://"),
        ("valkey://", "redis://"),
        ("valkey+socket://", "redis+socket://"),
    ):
        if broker_url.startswith(ours):
            return theirs + broker_url.removeprefix(ours)
    return broker_url


def _transport_options(broker_url: str) -> dict[str, Any]:
    # A publisher learns at once that the broker is away; otherwise each wake-up would wait six seconds for it.
    at_once = {"max_retries": 0, "interval_start": 0}
    if not normalised(broker_url).startswith(("redis://", "rediss://", "redis+socket://")):
        return at_once
    return at_once | {
        "global_keyprefix": KEY_PREFIX,
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "socket_connect_timeout": 2.0,
        # Longer than a blocking read of kombu's (one second), and all that a broker which hangs can cost a request.
        "socket_timeout": 3.0,
        "health_check_interval": 10,
    }


class Queue:
    """The publisher's side of the queue."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def wake(self, job_id: str | None = None, *, count: int = 1) -> bool:
        """Wakes workers; the job id is for their log alone.

        Returns:
            False where the broker cannot be reached: the reconciler publishes again once it can.
        """
        return self.wake_each([job_id] * count)

    def wake_each(self, job_ids: Sequence[str | None]) -> bool:
        """Wakes a worker for each of the jobs, in one exchange with a broker that takes several messages at once."""
        several = len(job_ids) > 1
        try:
            with (
                self._app.producer_or_acquire() as producer,
                _translated(producer),
                producer.batch() if several else nullcontext(),
            ):
                for job_id in job_ids:
                    self._publish(producer, job_id)
        except (KombuError, OSError) as error:
            log.warning("wake-up not published, the reconciler will: %s", error)
            return False
        return True

    def _publish(self, producer: Producer, job_id: str | None) -> None:
        """The message that `send_task` makes, without what it would find out anew for each."""
        amqp = self._app.amqp
        message = amqp.as_task_v2(uuid(), RUN_JOBS, args=(job_id,), reply_to=self._app.thread_oid, ignore_result=True)
        producer.publish(
            message.body,
            routing_key=QUEUE,
            serializer="json",
            declare=[amqp.queues[QUEUE]],
            headers=message.headers,
            **message.properties,
        )

    def depth(self) -> int:
        """Wake-ups that lie in the broker.

        Raises:
            ConnectionError: The broker cannot be reached, or answers with an error.
        """
        connection: Any = self._app.connection_for_read()
        try:
            with connection:
                connection.ensure_connection(max_retries=0)
                return int(connection.default_channel.queue_declare(queue=QUEUE, durable=True).message_count)
        except (BrokerError, *connection.connection_errors, *connection.channel_errors) as error:
            raise ConnectionError(f"the broker answered: {error}") from error

    def close(self) -> None:
        """Closes every connection."""
        self._app.close()


@contextmanager
def _translated(producer: Producer) -> Iterator[None]:
    """Turns what a broker's library raises into kombu's own error."""
    connection: Any = producer.connection
    try:
        yield
    except (*connection.connection_errors, *connection.channel_errors) as error:
        raise BrokerError(str(error)) from error
