"""Pages of a listing: a cursor holds the sort key of the last row shown, so that pages do not move under inserts."""

import base64
import binascii
import re
from collections.abc import Sequence

from sqlalchemy import RowMapping


class Order:
    """The columns that a listing is sorted by, and what each looks like in a cursor."""

    def __init__(self, **patterns: str) -> None:
        self._names = list(patterns)
        self._form = re.compile(" ".join(f"({pattern})" for pattern in patterns.values()))

    def decode(self, cursor: str) -> tuple[str, ...]:
        """The sort key that a cursor holds.

        Raises:
            ValueError: The cursor is none of ours.
        """
        try:
            found = self._form.fullmatch(base64.urlsafe_b64decode(cursor.encode()).decode())
        except (ValueError, binascii.Error):
            found = None
        if found is None:
            raise ValueError(f"cursor {cursor!r} is none of ours: use next_cursor of the page before")
        return found.groups()

    def cut(self, rows: Sequence[RowMapping], limit: int) -> tuple[Sequence[RowMapping], str | None]:
        """One page of rows, of which one more was asked for, and the cursor of the next."""
        if len(rows) <= limit:
            return rows, None
        values = (rows[limit - 1][name] for name in self._names)
        text = " ".join(repr(value) if isinstance(value, float) else value for value in values)
        return rows[:limit], base64.urlsafe_b64encode(text.encode()).decode()


INSTANT = r"\d{1,15}\.\d{1,15}"
"""Seconds since the epoch, in a cursor."""
