"""Chunks of work, halved where memory runs out."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from attribution.checks import require_count
from attribution.errors import OutOfMemory
from attribution.memory import is_out_of_memory

#: Called between chunks with the work done and all of it; may raise to stop.
Progress = Callable[[int, int], None]

T = TypeVar("T")


class Chunks:
    """Runs work chunk by chunk, halves the chunk when memory runs out, and tells the progress.

    Args:
        size: Items at once to begin with.
        total: Items in all, for the progress.
        progress: Called after each chunk with the items done and ``total``.

    >>> chunks = Chunks(4, total=6, progress=lambda done, total: print(done, total))
    >>> chunks.run(6, lambda start, stop: None)
    4 6
    6 6
    """

    def __init__(self, size: int, total: int, progress: Progress | None = None) -> None:
        """Starts with nothing done."""
        self.size = require_count(size, "chunk_size")
        self.total = total
        self.done = 0
        self._progress = progress

    def run(self, n_items: int, work: Callable[[int, int], None]) -> None:
        """Calls ``work(start, stop)`` over ``range(n_items)``; work that ran out of memory is called again, halved."""
        start = 0
        while start < n_items:
            stop = min(start + self.size, n_items)
            if not _fits(work, start, stop):
                self._halve(stop - start)
                continue
            self.advance(stop - start)
            start = stop

    def fitted(self, work: Callable[[int], T]) -> T:
        """Returns what ``work(size)`` returns for the present size, or for the first half of it that fits.

        Raises:
            OutOfMemory: A size of 1 does not fit.
        """  # noqa: DOC501, DOC502 - what the work raises goes on as it is, and the halving raises
        while True:
            done = self.done
            try:
                return work(self.size)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # What the failed attempt has counted is done again.
            self.done = done
            self._halve(self.size)

    def advance(self, n_items: int) -> None:
        """Counts items as done and tells the progress."""
        self.done += n_items
        if self._progress is not None:
            self._progress(self.done, self.total)

    def _halve(self, tried: int) -> None:
        if tried == 1:
            raise OutOfMemory(
                "one point does not fit into memory; use smaller images, another device, or free what else runs there"
            )
        self.size = tried // 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _fits(work: Callable[[int, int], None], start: int, stop: int) -> bool:
    try:
        work(start, stop)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # Leaving this function drops the traceback, and with it the tensors of the failed attempt.
        return False
    return True
