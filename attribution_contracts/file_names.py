"""Names under which files lie beside each other on any file system."""

import unicodedata

_LONGEST = 200
_TAIL = 100


class FileNames:
    """Gives each file a name of its own, also where case does not count.

    A name that is taken gets a number before its suffix; one that is too long loses its middle.
    """

    def __init__(self, *taken: str) -> None:
        self._taken = set(map(_key, taken))

    def own(self, name: str) -> str:
        """The name, or the first one made of it that no other file has."""
        short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - _TAIL - 1]}~{name[-_TAIL:]}"
        stem, dot, suffix = short.rpartition(".")
        if not stem:
            stem, dot, suffix = short, "", ""
        found, number = short, 1
        while _key(found) in self._taken:
            number += 1
            found = f"{stem}-{number}{dot}{suffix}"
        self._taken.add(_key(found))
        return found


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
