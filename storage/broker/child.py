"""Ties a child process to its parent, so that a killed tree leaves nothing behind."""

import ctypes
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def dying_with_parent(how: signal.Signals) -> Callable[[], None]:
    """A function for the child to run before it executes: the kernel signals it when its parent ends (Linux only).

    The parent must start it from its main thread, since the kernel watches the thread.
    """

    def tie() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, how)

    return tie
