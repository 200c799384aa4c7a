"""Digests that name things by their content."""

import hashlib
import json

from attribution_contracts.base import Sha256
from attribution_contracts.models import ModelSpec


def canonical_digest(value: object) -> Sha256:
    """SHA-256 of the JSON of a value with sorted keys and no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def model_digest(spec: ModelSpec, weights_sha256: Sha256 | None = None) -> Sha256:
    """The identity of a model: everything that decides its answers, and neither name nor version.

    Args:
        spec: What was registered.
        weights_sha256: Digest of the weights file where `spec.weights` names a part; otherwise `spec` says it.

    Raises:
        ValueError: The weights are a part of a body whose digest is not given.
    """
    sha256 = weights_sha256 or spec.weights.sha256
    if sha256 is None and spec.weights.torchvision is None:
        raise ValueError("the weights are a part of the body: give the digest of its file as weights_sha256")
    identity = spec.model_dump(mode="json", include={"architecture", "options", "preprocessing", "labels"})
    # A model without any is what it was before there were such.
    identity |= spec.model_dump(mode="json", include={"backgrounds", "decomposed", "link"}, exclude_defaults=True)
    return canonical_digest({**identity, "weights": {"sha256": sha256, "torchvision": spec.weights.torchvision}})
