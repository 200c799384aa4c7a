"""Base64 as it comes in, decoded piece by piece."""

import base64

_STANDARD = bytes.maketrans(b"-_", b"+/")
"""From base64's alphabet for URLs to the usual one."""
_SPACE = b" \t\r\n"
_SCHEME, _MAX_PREFIX = b"data:", 220


class Base64Decoder:
    """Decodes either alphabet, with or without padding and line ends, or a `data:` URI of it.

    What is no base64 is a `ValueError` as soon as it is seen.
    """

    def __init__(self) -> None:
        self._prefix: bytes | None = b""
        self._digits = self._padding = b""

    def feed(self, text: bytes) -> bytes:
        """The bytes that the next characters complete."""
        if self._prefix is not None:
            self._prefix += text
            if self._may_be_prefix(self._prefix):
                return b""
            text, self._prefix = _without_prefix(self._prefix), None
        digits, padding, rest = text.translate(_STANDARD, _SPACE).partition(b"=")
        if self._padding:
            digits, padding = b"", digits + padding
        self._padding += padding + rest
        if self._padding not in {b"", b"=", b"=="}:
            raise ValueError("something follows the padding")
        self._digits += digits
        whole = len(self._digits) // 4 * 4
        decoded = base64.b64decode(self._digits[:whole], validate=True)
        self._digits = self._digits[whole:]
        return decoded

    def end(self) -> bytes:
        """The last bytes."""
        first = b""
        if self._prefix is not None:
            text, self._prefix = _without_prefix(self._prefix), None
            first = self.feed(text)
        return first + base64.b64decode(self._digits + b"=" * (-len(self._digits) % 4), validate=True)

    @staticmethod
    def _may_be_prefix(text: bytes) -> bool:
        return text[: len(_SCHEME)] == _SCHEME[: len(text)] and b"," not in text and len(text) <= _MAX_PREFIX


def _without_prefix(text: bytes) -> bytes:
    if not text.startswith(_SCHEME):
        return text
    prefix, _, rest = text.partition(b",")
    if not prefix.endswith(b";base64"):
        raise ValueError("a data: URI is expected to begin with data:<type>;base64,")
    return rest
