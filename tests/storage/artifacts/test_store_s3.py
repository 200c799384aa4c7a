"""Artefacts in an S3 bucket, served by moto."""

import io
import time
from collections.abc import Iterator

import pytest

from storage.artifacts.store import ArtifactStore, StoreUnavailableError
from tests.storage.artifacts.test_store import LARGE, sha256

s3fs = pytest.importorskip("s3fs", reason="the extra `s3` is not installed")
boto3 = pytest.importorskip("boto3", reason="moto is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto is not installed")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def at() -> Iterator[pytest.MonkeyPatch]:
    """An environment with credentials."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield patch
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def store(endpoint: str, at: pytest.MonkeyPatch) -> ArtifactStore:
    # One for all tests: the library takes a second to make its first client.
    at.setenv("AWS_ENDPOINT_URL", endpoint)
    return ArtifactStore("s3://artifacts/some/prefix")


@pytest.fixture(autouse=True)
def bucket(endpoint: str, store: ArtifactStore):
    bucket = boto3.resource("s3", endpoint_url=endpoint, region_name="us-east-1").Bucket("artifacts")
    bucket.create()
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()


@pytest.fixture
def elsewhere(at: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment, to be changed for a store of its own."""
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.MonkeyPatch.context() as patch:
        yield patch
    s3fs.S3FileSystem.clear_instance_cache()


def keys(bucket) -> set[str]:
    return {one.key for one in bucket.objects.all()}


@pytest.mark.parametrize("data", [b"", b"bytes", LARGE])
def test_what_is_put_is_found_under_its_digest(store: ArtifactStore, bucket, data: bytes) -> None:
    digest = sha256(data)
    assert not store.has(digest)
    assert store.put(data) == digest
    assert store.has(digest)
    assert store.get(digest) == data
    with store.local_path(digest) as path:
        assert path.read_bytes() == data
    assert keys(bucket) == {f"some/prefix/{digest[:2]}/{digest}"}


@pytest.mark.parametrize("data", [b"", LARGE, LARGE * 3])
def test_a_stream(store: ArtifactStore, bucket, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    # Small pieces, so that the largest is sent in several as a large model is.
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda *_, **__: 5 * 2**20)
    assert store.put_stream(io.BytesIO(data)) == (sha256(data), len(data))
    assert store.put_stream(io.BytesIO(data)) == (sha256(data), len(data))
    [stored] = bucket.objects.all()
    assert stored.size == len(data)
    assert store.get(sha256(data)) == data


def test_a_range(store: ArtifactStore) -> None:
    digest = store.put(b"0123456789")
    assert [store.read_range(digest, *span) for span in ((0, 4), (3, 5), (8, 100))] == [b"0123", b"34", b"89"]


def test_what_is_not_there(store: ArtifactStore) -> None:
    for digest in ("0" * 64, "../x"):
        for read in (
            store.get,
            lambda name: store.read_range(name, 0, 1),
            lambda name: store.local_path(name).__enter__(),
        ):
            with pytest.raises(FileNotFoundError):
                read(digest)


def test_what_is_discarded_is_gone(store: ArtifactStore, bucket) -> None:
    gone, other = store.put(b"gone"), store.put(b"other")
    store.discard(gone)
    store.discard(gone)
    assert [key.rpartition("/")[2] for key in keys(bucket)] == [other]


def test_what_was_stored_before_a_time_is_listed_and_discarded(store: ArtifactStore, bucket) -> None:
    digests = {store.put(f"{number}".encode()) for number in range(40)}
    assert {digest for page in store.listed(before=time.time() + 3600) for digest in page} == digests
    assert list(store.listed(before=time.time() - 3600)) == []
    again = store.put(b"0")
    store.discard_all(digests)
    store.discard_all(digests)
    assert keys(bucket) == set()
    assert store.put(b"0") == again, "no list of before says that it is there"
    assert len(keys(bucket)) == 1
    store.require_answer()


def test_the_store_says_the_time(store: ArtifactStore, bucket) -> None:
    assert abs(store.time() - time.time()) < 600
    assert keys(bucket) == set()


def test_an_upload_can_be_made_visible_again(store: ArtifactStore, bucket) -> None:
    with store.upload() as upload:
        upload.write(b"weights")
        digest, _ = upload.commit()
        store.discard(digest)
        upload.commit()
    assert store.get(digest) == b"weights"
    assert len(keys(bucket)) == 1


def test_the_probe_leaves_nothing(store: ArtifactStore, bucket) -> None:
    store.require_writable()
    assert keys(bucket) == set()


def test_an_upload_that_breaks_off_leaves_nothing(store: ArtifactStore, bucket) -> None:
    class Source:
        left = 2

        def read(self, size: int, /) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise ConnectionResetError("the client went away")
            return b"x" * size

    with pytest.raises(ConnectionResetError):
        store.put_stream(Source())
    assert keys(bucket) == set()


def test_a_bucket_that_is_not_there() -> None:
    store = ArtifactStore("s3://no-such-bucket/prefix")
    with pytest.raises(StoreUnavailableError, match="bucket does not exist"):
        store.put(b"x")
    with pytest.raises(StoreUnavailableError, match="bucket does not exist"):
        store.put_stream(io.BytesIO(b"x"))
    with pytest.raises(StoreUnavailableError, match="bucket does not exist"):
        store.require_writable()


def test_an_endpoint_that_does_not_answer(elsewhere: pytest.MonkeyPatch) -> None:
    elsewhere.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store, start = ArtifactStore("s3://artifacts"), time.monotonic()
    for use in (lambda: store.put(b"x"), lambda: store.get("0" * 64), lambda: store.has("0" * 64)):
        with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:9"):
            use()
    assert time.monotonic() - start < 15


def test_without_credentials(elsewhere: pytest.MonkeyPatch) -> None:
    elsewhere.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    elsewhere.setenv("AWS_EC2_METADATA_DISABLED", "true")
    elsewhere.delenv("AWS_ACCESS_KEY_ID")
    elsewhere.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreUnavailableError, match="credentials"):
        ArtifactStore("s3://artifacts").put(b"x")
