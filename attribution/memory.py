"""Chunks of work that fit into memory, halved where they do not."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from attribution.checks import require_count
from attribution.errors import OutOfMemory

#: Called between chunks with the work done and all of it; may raise to stop.
Progress = Callable[[int, int], None]

T = TypeVar("T")

_MESSAGES = ("not enough memory", "can't allocate memory", "out of memory", "failed to allocate")

#: On a CPU small chunks are the fast ones: their activations stay near the caches.
_CPU_BYTES = 256 * 2**20
_ACCELERATOR_SHARE = 0.5
_LARGEST_CHUNK = 512


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an exception says that memory ran out; torch's CPU allocator has no type of its own for it.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"))
    True
    >>> is_out_of_memory(RuntimeError("shape mismatch"))
    False
    """
    if isinstance(error, OutOfMemory):
        return False
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


def fitted_chunk(bytes_per_point: int, device: torch.device) -> int:
    """Returns how many points to run at once, from what the activations of one point take.

    >>> fitted_chunk(64 * 2**20, torch.device("cpu"))
    4
    """
    budget = float(_CPU_BYTES)
    if device.type == "cuda":
        budget = _ACCELERATOR_SHARE * torch.cuda.mem_get_info(device)[0]
    return max(1, min(_LARGEST_CHUNK, int(budget // max(1, bytes_per_point))))


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
