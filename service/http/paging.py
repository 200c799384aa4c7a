"""The parameters of a listing: where its page begins, and how long it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Query

from attribution_contracts.patterns import CURSOR
from attribution_contracts.problems import FieldError
from service.http.problems import wrong_fields

Cursor = Annotated[str | None, Query(pattern=CURSOR)]
Limit = Annotated[int, Query(ge=1, le=100)]
LIMIT = 20
"""Of a page that is not asked to be of another length."""


@contextmanager
def own_cursor() -> Iterator[None]:
    """Answers for a cursor that is none of ours.

    Raises:
        ProblemError: It is none.
    """
    try:
        yield
    except ValueError as error:
        raise wrong_fields([FieldError(pointer="/query/cursor", detail=str(error))]) from error
