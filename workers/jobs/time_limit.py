"""The time limit of a job, which nothing that the job calls can take for an error of its own."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNAL = signal.SIGUSR1
"""What Celery sends to its child once a task has had its time."""


class TimeLimitReached(BaseException):
    """The job has had its time.

    No `Exception`: libraries catch those and raise their own, or count what failed as one that does not work.
    """


class TimeLimit:
    """Remembers that the time is up, and interrupts the procedure once."""

    def __init__(self) -> None:
        self.is_reached = False
        self._interrupts = self._is_over = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes Celery's signal for as long as the block runs; only a main thread ever gets one."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(SIGNAL, self._reach)
        try:
            yield
        finally:
            signal.signal(SIGNAL, before)

    def begin(self) -> None:
        """From here on the signal interrupts."""
        self._interrupts = True
        self.check()

    def end(self) -> None:
        """From here on the signal changes nothing: what is written down now must not be cut in half."""
        self._interrupts, self._is_over = False, True

    def check(self) -> None:
        """Raises where the time is up although the interruption was lost, as in a destructor.

        Raises:
            TimeLimitReached: It is.
        """
        if self.is_reached:
            self._interrupts = False
            raise TimeLimitReached

    def _reach(self, *_: object) -> None:
        if self._is_over:
            return
        self.is_reached = True
        if self._interrupts:
            self._interrupts = False
            raise TimeLimitReached
