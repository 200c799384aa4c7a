"""What a worker does with a wake-up that it can no longer acknowledge."""

from typing import Any

from celery import Task
from celery.worker.request import Request
from kombu.transport.virtual import QoS


class WakeUp(Request):
    """A request whose acknowledgement may be lost with the broker's connection.

    Celery only logs that; the message would stay counted against the prefetch limit of one, and the worker would
    never fetch another. The ledger does not need the acknowledgement, so the message is let go.
    """

    def acknowledge(self) -> None:
        """Acknowledges the message, or forgets it where the broker cannot be told."""
        super().acknowledge()
        message = self.message
        qos = getattr(message.channel, "qos", None)
        if not message.acknowledged and isinstance(qos, QoS):
            QoS.ack(qos, message.delivery_tag)  # the base class's: local bookkeeping without a word to the broker


class WakeUpTask(Task[Any, Any]):
    """The kind of task that a wake-up is."""

    Request = "workers.process.wakeups:WakeUp"
