"""Data sets in an S3 bucket, served by moto, that a worker lists and reads by itself."""

import pytest

from tests.storage.artifacts.test_store_s3 import at, bucket, endpoint, store  # noqa: F401 - fixtures
from tests.workers.sources import flowers, zipped
from workers.datasets.archives import archive_entries
from workers.datasets.entries import Limits
from workers.datasets.locations import location_entries
from workers.problems import InvalidDataset

LIMITS = Limits(total_bytes=10**6, files=100, file_bytes=10**5, pixels=10**6)
PREFIXES = ["s3://artifacts/sets"]


def contents(entries):
    return {entry.name: entry.read(10**6) for entry in entries}


def test_a_folder(bucket):  # noqa: F811 - the fixture
    for name, content in flowers().items():
        bucket.put_object(Key=f"sets/flowers/{name}", Body=content)
    bucket.put_object(Key="sets/flowers-not/a/1.png", Body=b"x")
    assert contents(location_entries("s3://artifacts/sets/flowers", PREFIXES, LIMITS)) == flowers()


def test_an_archive(bucket):  # noqa: F811
    bucket.put_object(Key="sets/flowers.zip", Body=zipped(flowers()))
    assert contents(location_entries("s3://artifacts/sets/flowers.zip", PREFIXES, LIMITS)) == flowers()


def test_limits_and_prefixes(bucket):  # noqa: F811
    for number in range(7):
        bucket.put_object(Key=f"sets/many/{number}", Body=b"x" * 200)
    few = Limits(total_bytes=100, files=5, file_bytes=100, pixels=100)
    with pytest.raises(InvalidDataset, match="more than 5 entries"):
        list(location_entries("s3://artifacts/sets/many", PREFIXES, few))
    with pytest.raises(InvalidDataset, match="more than 100 bytes"):
        list(location_entries("s3://artifacts/sets/many/1", PREFIXES, few))
    with pytest.raises(InvalidDataset, match="may not be read"):
        location_entries("s3://artifacts/other", PREFIXES, few)


def test_what_an_archive_of_this_machine_gives(tmp_path):
    (tmp_path / "flowers").write_bytes(zipped(flowers()))
    assert contents(archive_entries(tmp_path / "flowers", LIMITS)) == flowers()
