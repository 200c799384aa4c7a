"""The files of a request: what lies on the shelf is what came, wherever it lies."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.http.bodies import BodyReader
from service.http.image_headers import UnusableImageError, read_header
from service.http.shelf import IN_MEMORY, PIECE, Shelf
from storage.artifacts.store import ArtifactStore, StoreUnavailableError
from tests.service.http.test_cost import HEADS, with_metadata


@pytest.fixture
def shelf(store: ArtifactStore) -> Iterator[Shelf]:
    shelf = Shelf(store)
    yield shelf
    shelf.close()


@pytest.mark.parametrize("sizes", [(0, 10, 1), (3 * PIECE, 10, 2 * IN_MEMORY, 0, 5)])
def test_files_one_after_another(store: ArtifactStore, shelf: Shelf, sizes: tuple[int, ...]) -> None:
    files = [random.Random(size).randbytes(size) for size in sizes]
    contents = []
    for file in files:
        shelf.write(b"of a file that was given up")
        shelf.drop()
        for start in range(0, len(file), 100_000):
            shelf.write(file[start : start + 100_000])
        contents.append(shelf.end())
    for file, content in zip(files, contents, strict=True):
        assert (content.size, content.sha256) == (len(file), hashlib.sha256(file).hexdigest())
        assert shelf.read(content) == file
        assert shelf.read(content, 3, 7) == file[3:7]
        look = shelf.look(content)
        assert len(look) == len(file)
        for start, stop in (
            (0, 8),
            (5, 5),
            (len(file) - 3, len(file) + 9),
            (100, 70_000),
            (50, 60),
            (10**9, 10**9 + 4),
        ):
            assert look[start:stop] == file[start:stop]
        with pytest.raises(IndexError):
            look[len(file)]
        shelf.keep(content)
        assert store.get(content.sha256) == file


@pytest.mark.parametrize("name", with_metadata())
def test_a_header_is_read_where_it_lies(shelf: Shelf, name: str) -> None:
    file = with_metadata()[name] + bytes(PIECE)
    shelf.write(file)
    assert read_header(shelf.look(shelf.end()), max_pixels=10**6) == read_header(file, max_pixels=10**6)


@pytest.mark.parametrize("name", HEADS)
def test_a_broken_header_is_as_broken_there(shelf: Shelf, name: str) -> None:
    shelf.write(HEADS[name])
    with pytest.raises(UnusableImageError) as there:
        read_header(shelf.look(shelf.end()), max_pixels=10**8)
    with pytest.raises(UnusableImageError) as here:
        read_header(HEADS[name], max_pixels=10**8)
    assert str(there.value) == str(here.value)


def test_a_full_disk_is_the_store_s(store: ArtifactStore) -> None:
    class Full:
        def seek(self, _place: int) -> None:
            raise OSError(28, "No space left on device")

    shelf = Shelf(store)
    shelf._file = Full()  # type: ignore[assignment]
    with pytest.raises(StoreUnavailableError, match="No space left"):
        shelf.write(b"x")


def test_who_sends_no_large_file_needs_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = ArtifactStore(str(tmp_path / "file"))
    reader = BodyReader(store, "application/json")
    reader.feed(b"{}")
    assert reader.finish().document == b"{}"
    shelf = Shelf(store)
    shelf.write(bytes(IN_MEMORY))
    with pytest.raises(StoreUnavailableError, match="cannot be stored"):
        shelf.write(b"x")


def test_nothing_is_left_behind(store: ArtifactStore, tmp_path: Path) -> None:
    shelf = Shelf(store)
    shelf.write(bytes(2 * IN_MEMORY))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    shelf.close()
