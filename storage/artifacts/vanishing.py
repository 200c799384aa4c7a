"""Temporary files that vanish with their process, however that ends."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast


@contextmanager
def vanishing_file(folder: Path | None = None) -> Iterator[tuple[IO[bytes], Path]]:
    """A file without a name, and a path at which this process, and no other, can open it again.

    Args:
        folder: Whose file system holds it; the system's folder for temporary files unless told.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        yield cast("IO[bytes]", file), Path(f"/proc/self/fd/{file.fileno()}")
