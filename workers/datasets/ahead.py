"""Work done ahead of whoever consumes it, in threads, in order, and never far ahead."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

THREADS = min(4, os.cpu_count() or 1)
"""Decoders release the interpreter; more of them than this only wait for memory."""


def ahead(function: Callable[[Given], Made], items: Iterable[Given], *, depth: int = THREADS + 1) -> Generator[Made]:
    """The function of each item in order, with at most `depth` of them under way or waiting.

    Items are drawn in the consumer's thread; what drawing or the function raises reaches the consumer, and a consumer
    that stops leaves no thread behind.
    """
    drawn = iter(items)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="ahead") as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for item in islice(drawn, depth):
                waiting.append(pool.submit(function, item))
            while waiting:
                yield waiting.popleft().result()
                for item in islice(drawn, 1):
                    waiting.append(pool.submit(function, item))
        finally:
            for future in waiting:
                future.cancel()
