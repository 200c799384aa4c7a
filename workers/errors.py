"""Which problem an exception becomes: one table, exception type -> (code, whether another attempt may help)."""

import logging

from attribution_contracts.problems import ErrorCode, Problem, problem
from storage.artifacts.store import StoreUnavailableError
from storage.database import LedgerUnavailableError
from workers.problems import WorkProblem

log = logging.getLogger(__name__)

_BY_NAME: dict[str, tuple[ErrorCode, bool]] = {
    "InvalidTarget": (ErrorCode.INVALID_TARGET, False),
    "InvalidOption": (ErrorCode.INVALID_OPTION, False),
    "InvalidInput": (ErrorCode.INVALID_IMAGE, False),
    "NetworkError": (ErrorCode.INVALID_MODEL, False),
    "OutOfMemory": (ErrorCode.OUT_OF_MEMORY, True),
}
"""The engine's exceptions by name, for a worker that runs self-tests never imports torch."""

_BY_TYPE: dict[type[BaseException], tuple[ErrorCode, bool]] = {
    MemoryError: (ErrorCode.OUT_OF_MEMORY, True),
    StoreUnavailableError: (ErrorCode.STORE_UNAVAILABLE, True),
    LedgerUnavailableError: (ErrorCode.LEDGER_UNAVAILABLE, True),
}


def problem_of(error: Exception, job_id: str) -> Problem:
    """The problem that a client sees; what we did not foresee reveals nothing and goes to the log."""
    if isinstance(error, WorkProblem):
        return problem(error.code, str(error), retryable=error.retryable)
    for ancestor in type(error).__mro__:
        code, retryable = _BY_TYPE.get(ancestor) or _BY_NAME.get(ancestor.__name__) or (None, False)
        if code is not None:
            return problem(code, str(error) or "out of memory", retryable=retryable)
    log.error("job %s failed unexpectedly", job_id, exc_info=error)
    return problem(ErrorCode.INTERNAL, f"the worker's log has the details under {job_id}", retryable=True)
