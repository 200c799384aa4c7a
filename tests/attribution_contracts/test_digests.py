"""The identity of a model."""

import hashlib

import pytest

from attribution_contracts.digests import canonical_digest, model_digest
from attribution_contracts.models import ModelSpec

A, B = "a" * 64, "b" * 64


def spec(**fields):
    given = {
        "name": "digits",
        "architecture": "mnist_cnn",
        "weights": {"part": "weights"},
        "preprocessing": {"color": "grey", "size": [28, 28]},
    }
    return ModelSpec.model_validate(given | fields)


def test_the_digest_is_that_of_sorted_json_without_spaces():
    assert canonical_digest({"b": [1, 2.5], "a": "ü"}) == hashlib.sha256('{"a":"ü","b":[1,2.5]}'.encode()).hexdigest()


def test_name_and_version_and_the_way_of_sending_do_not_count():
    expected = model_digest(spec(), A)
    assert model_digest(spec(name="other", version="7"), A) == expected
    assert model_digest(spec(weights={"sha256": A})) == expected


@pytest.mark.parametrize(
    "changed",
    [
        {"architecture": "cifar_resnet20"},
        {"options": {"num_classes": 3}},
        {"labels": ["a", "b"]},
        {"preprocessing": {"color": "grey", "size": [28, 28], "mean": [0.5]}},
        {"preprocessing": {"color": "grey", "size": [28, 28], "interpolation": "nearest"}},
        {"weights": {"torchvision": "IMAGENET1K_V1"}},
        {"weights": {"sha256": B}},
    ],
)
def test_everything_that_decides_the_answers_counts(changed):
    digest = None if "weights" in changed else A
    assert model_digest(spec(**changed), digest) != model_digest(spec(), A)


def test_the_order_of_options_does_not_count():
    one, two = {"hidden": 64, "dropout": 0.5}, {"dropout": 0.5, "hidden": 64}
    assert model_digest(spec(options=one), A) == model_digest(spec(options=two), A)


def test_a_part_needs_the_digest_of_its_file():
    with pytest.raises(ValueError, match="give the digest of its file"):
        model_digest(spec())
