"""Bytes of an image whose header is read, which costs little whatever they hold."""

import io

MAX_READS = 2000
"""A segment or chunk takes some five; photographs of phones have up to two hundred."""
MAX_BYTES = 8 * 1024 * 1024


class HeaderBytes(io.BytesIO):
    """A file that gives no more than a header needs, until the header is read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads, self._bytes, self._is_read = 0, 0, False

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes.

        Raises:
            ValueError: There have been more reads, or more bytes, than a header has.
        """
        found = super().read(size)
        if self._is_read:
            return found
        self._reads += 1
        # What is read whole is shared, not copied.
        self._bytes += len(found) if size is not None and size >= 0 else 0
        if self._reads > MAX_READS or self._bytes > MAX_BYTES:
            raise ValueError(
                "more stands before the picture than in any photograph: save the image anew, without metadata"
            )
        return found

    def header_is_read(self) -> None:
        """From here on everything is given."""
        self._is_read = True
