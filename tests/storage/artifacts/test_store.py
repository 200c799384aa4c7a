"""Artefacts in a local folder: whole or not there at all."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage import room
from storage.artifacts import store as artifacts
from storage.artifacts.store import ArtifactStore, StoreFullError, StoreUnavailableError

LARGE = bytes(range(256)) * 20_000  # 5 MB, several chunks


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "new" / "artifacts"


@pytest.fixture
def store(root: Path) -> ArtifactStore:
    return ArtifactStore(str(root))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("data", [b"", b"bytes", LARGE])
def test_what_is_put_is_found_under_its_digest(store: ArtifactStore, root: Path, data: bytes) -> None:
    digest = sha256(data)
    assert not store.has(digest)
    assert store.put(data) == digest
    assert store.has(digest)
    assert store.get(digest) == data
    with store.local_path(digest) as path:
        assert path.read_bytes() == data
    assert files(root) == {f"{digest[:2]}/{digest}"}


@pytest.mark.parametrize("data", [b"", b"bytes", LARGE])
def test_a_stream_is_stored_in_chunks(store: ArtifactStore, root: Path, data: bytes) -> None:
    asked: list[int] = []

    class Source(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            asked.append(size)
            return super().read(size)

    assert store.put_stream(Source(data)) == (sha256(data), len(data))
    assert set(asked) == {artifacts.CHUNK}
    assert store.get(sha256(data)) == data
    assert files(root) == {f"{sha256(data)[:2]}/{sha256(data)}"}


def test_the_same_bytes_are_stored_once(store: ArtifactStore, root: Path) -> None:
    digest = store.put(LARGE)
    [path] = [root / name for name in files(root)]
    before = path.stat()
    assert store.put(LARGE) == digest
    assert store.put_stream(io.BytesIO(LARGE)) == (digest, len(LARGE))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(files(root)) == 1


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(0, 4, b"0123"), (3, 5, b"34"), (8, 100, b"89"), (10, 12, b""), (4, 4, b"")]
)
def test_ranges(store: ArtifactStore, start: int, end: int, expected: bytes) -> None:
    assert store.read_range(store.put(b"0123456789"), start, end) == expected


@pytest.mark.parametrize("digest", ["0" * 64, "0" * 63, "", "../../etc/passwd", "a" * 62 + "/x", "A" * 64])
def test_what_is_not_there(store: ArtifactStore, digest: str) -> None:
    store.put(b"something else")
    for read in (store.get, lambda name: store.read_range(name, 0, 1), lambda name: store.local_path(name).__enter__()):
        with pytest.raises(FileNotFoundError):
            read(digest)


def test_what_is_discarded_is_gone_and_the_rest_stays(store: ArtifactStore) -> None:
    gone, other = store.put(b"gone"), store.put(b"other")
    store.discard(gone)
    store.discard(gone)
    assert (store.has(gone), store.get(other)) == (False, b"other")


def test_writers_at_once_leave_one_whole_file(store: ArtifactStore, root: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        puts = [threads.submit(store.put, LARGE) for _ in range(4)]
        streams = [threads.submit(store.put_stream, io.BytesIO(LARGE)) for _ in range(4)]
        assert {put.result() for put in puts} == {stream.result()[0] for stream in streams} == {sha256(LARGE)}
    assert files(root) == {f"{sha256(LARGE)[:2]}/{sha256(LARGE)}"}
    assert store.get(sha256(LARGE)) == LARGE


DIE = """
import os, signal, sys
from pathlib import Path
from storage.artifacts.store import ArtifactStore
moment, root = sys.argv[1:]
real_fsync, real_replace = os.fsync, Path.replace
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
class Source:
    left = 3
    def read(self, size):
        if not self.left and moment == "reading": die()
        self.left -= 1
        return b"x" * size if self.left >= 0 else b""
if moment == "syncing": os.fsync = die
if moment == "renaming": Path.replace = os.link = die
store = ArtifactStore(root)
store.put(b"y" * 1000) if moment == "putting" else store.put_stream(Source())
"""


@pytest.mark.parametrize("moment", ["reading", "syncing", "renaming"])
def test_a_kill_in_the_middle_leaves_nothing_visible(store: ArtifactStore, root: Path, moment: str) -> None:
    store.put(b"before")
    done = subprocess.run([sys.executable, "-c", DIE, moment, str(root)])
    assert done.returncode == -signal.SIGKILL
    data = b"x" * artifacts.CHUNK * 3
    assert not store.has(sha256(data))
    visible = {name for name in files(root) if not name.startswith("incoming/")}
    assert visible == {f"{sha256(b'before')[:2]}/{sha256(b'before')}"}
    assert store.put_stream(io.BytesIO(data)) == (sha256(data), len(data))
    assert store.get(sha256(data)) == data


@pytest.mark.skipif(sys.platform != "linux", reason="names of open files are read from /proc")
def test_bytes_are_synced_before_they_are_visible_and_their_folders_after(
    store: ArtifactStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(b"the folders are there")
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()).removeprefix(str(root)).split("/incoming/")[0])
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> Path:
        done.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    digest = store.put(b"new")
    assert done == ["", "", "rename", f"/{digest[:2]}"], "file, folder of the new folder, rename, new folder"


def test_what_a_kill_left_is_cleared_once_it_is_old(store: ArtifactStore, root: Path) -> None:
    subprocess.run([sys.executable, "-c", DIE, "reading", str(root)])
    [left] = (root / "incoming").iterdir()
    store.require_writable()
    assert left.exists(), "it might still be growing"
    old = time.time() - artifacts.STALE_S - 60
    os.utime(left, (old, old))
    store.require_writable()
    assert files(root) == set()


def test_a_stream_that_fails_leaves_nothing_and_keeps_its_own_error(store: ArtifactStore, root: Path) -> None:
    class TooLargeError(OSError):
        pass

    class Source:
        left = 2

        def read(self, size: int, /) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise TooLargeError("the body is over the cap")
            return b"x" * size

    with pytest.raises(TooLargeError):
        store.put_stream(Source())
    assert files(root) == set()


class TestUnavailable:
    def refuses(self, store: ArtifactStore, reason: str) -> None:
        for write in (lambda: store.put(b"x"), lambda: store.put_stream(io.BytesIO(b"x")), store.require_writable):
            with pytest.raises(StoreUnavailableError, match=rf"cannot be stored: .*{reason}"):
                write()

    def test_a_file_in_place_of_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("not a folder")
        self.refuses(ArtifactStore(str(tmp_path / "file")), "File exists")
        self.refuses(ArtifactStore(str(tmp_path / "file" / "deeper")), "File exists")

    def test_a_file_in_place_of_a_subfolder(self, store: ArtifactStore, root: Path) -> None:
        root.mkdir(parents=True)
        (root / sha256(b"x")[:2]).write_text("not a folder")
        with pytest.raises(StoreUnavailableError, match=r"exists|Not a directory"):
            store.put(b"x")
        assert store.put(b"another")

    def test_a_disk_that_takes_no_more(self, store: ArtifactStore, root: Path) -> None:
        limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        put = "try: store.put(b'x' * 200_000)"
        assert "File too large" in in_a_child(limit + TRY.format(put=put), str(root))
        stream = "import io\ntry: store.put_stream(io.BytesIO(b'x' * 5_000_000))"
        assert "File too large" in in_a_child(limit + TRY.format(put=stream), str(root))
        assert files(root) == set()

    def test_a_folder_that_we_may_not_write(self) -> None:
        with tempfile.TemporaryDirectory() as name:  # pytest's own folder is closed to other users
            kept = ArtifactStore(name).put(b"kept")
            for path in (Path(name), *Path(name).rglob("*")):
                path.chmod(0o555)
            # Root may write where nobody else may.
            nobody = "import os\nif os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            put = f"assert store.get('{kept}') == b'kept'\ntry: store.put(b'x')"
            said = in_a_child(TRY.format(put=nobody + put), name)
        assert "cannot be stored: [Errno 13] Permission denied" in said


TRY = """
import sys
from storage.artifacts.store import ArtifactStore, StoreUnavailableError
store = ArtifactStore(sys.argv[1])
{put}
except StoreUnavailableError as error: print(error)
"""


def in_a_child(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestLeaving:
    def test_an_upload_can_be_made_visible_again(self, store: ArtifactStore) -> None:
        with store.upload() as upload:
            upload.write(b"weights")
            digest, size = upload.commit()
            assert upload.stored == (digest, size)
            store.discard(digest)
            assert upload.commit() == (digest, size)
            assert store.get(digest) == b"weights"
        assert store.get(digest) == b"weights"

    def test_what_was_stored_before_a_time_is_listed(self, store: ArtifactStore) -> None:
        digests = {store.put(f"{number}".encode()) for number in range(20)}
        assert {digest for page in store.listed(before=time.time() + 60) for digest in page} == digests
        assert list(store.listed(before=time.time() - 60)) == []
        store.discard_all(digests)
        store.discard_all(digests)
        assert list(store.listed(before=time.time() + 60)) == []

    def test_a_full_disk_is_told_once(
        self, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        kept = store.put(b"kept")
        monkeypatch.setattr(room, "RESERVE", 2**62)
        for write in (lambda: store.put(b"more"), store.upload, store.require_room):
            with pytest.raises(StoreFullError, match=r"the disk is full: [\d,]+ bytes are left"):
                write()
        assert store.put(b"kept") == kept, "what is there needs no room"
        monkeypatch.undo()
        store.put(b"more")
        assert [record.message.partition(": ")[2][:17] for record in caplog.records] == [
            "the disk is full:",
            "there is room aga",
        ]


def test_a_store_that_connects_at_once_and_finds_nobody_is_unavailable() -> None:
    with pytest.raises(
        StoreUnavailableError,
        match=r"the artefact store ftp://me@127\.0\.0\.1:1/x \(ATTRIBUTION_ARTIFACT_URL\) cannot be opened",
    ):
        ArtifactStore("ftp://me:swordfish@127.0.0.1:1/x")
