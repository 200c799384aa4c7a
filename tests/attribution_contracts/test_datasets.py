"""Data sets on the wire: one source, labels that differ, an index whose columns agree."""

import pytest
from pydantic import ValidationError

from attribution_contracts.datasets import DatasetIndex, DatasetSource, DatasetSpec

DIGEST = "a" * 64
INDEX = {
    "pack": DIGEST,
    "labels": ["x"],
    "names": ["x/1.png"],
    "classes": [0],
    "offsets": [0],
    "sizes": [5],
    "digests": [DIGEST],
}


@pytest.mark.parametrize(
    "source",
    [
        {"part": "archive"},
        {"sha256": DIGEST},
        {"pieces": [DIGEST, DIGEST]},
        {"location": "s3://bucket/a b/ü.zip"},
        {"location": "file:///data/flowers"},
    ],
)
def test_a_source_is_one_of_four(source: dict) -> None:
    assert DatasetSource.model_validate(source).model_dump(exclude_none=True) == source


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, "given: none"),
        ({"part": "a", "sha256": DIGEST}, "given: part, sha256"),
        ({"pieces": []}, "at least 1"),
        ({"pieces": [DIGEST] * 10_001}, "at most 10000"),
        ({"sha256": DIGEST.upper()}, "pattern"),
        ({"location": "https://host/a.zip"}, "pattern"),
        ({"location": "file://host/a"}, "pattern"),
        ({"location": "/data"}, "pattern"),
        ({"location": "file:///data/../etc"}, "step '.' or '..'"),
        ({"location": "s3://bucket/./a"}, "step '.' or '..'"),
        ({"location": "s3://bucket/a?x"}, "pattern"),
        ({"location": "s3://bucket/\n"}, "pattern"),
        ({"url": "x"}, "Extra inputs"),
    ],
)
def test_a_wrong_source(source: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DatasetSource.model_validate(source)


def test_labels_differ_from_each_other() -> None:
    with pytest.raises(ValidationError, match="labels must differ"):
        DatasetSpec.model_validate({"name": "a", "source": {"sha256": DIGEST}, "labels": ["x", "y", "x"]})


@pytest.mark.parametrize("column", ["names", "classes", "offsets", "sizes", "digests"])
def test_columns_of_an_index_agree(column: str) -> None:
    assert DatasetIndex.model_validate(INDEX).names == ["x/1.png"]
    with pytest.raises(ValidationError, match="one entry an image"):
        DatasetIndex.model_validate(INDEX | {column: []})
