"""Models for the tests of the registry."""

from typing import Any

from attribution_contracts.digests import model_digest
from attribution_contracts.models import ModelReport, ModelSpec
from attribution_contracts.states import JobKind
from storage.ledger.records import NewJob
from tests.storage.helpers import digest


def spec_of(seed: int = 0, **values: Any) -> tuple[ModelSpec, str]:
    """A specification and its digest, another one for each seed."""
    spec = ModelSpec.model_validate(
        {
            "name": "digits",
            "architecture": "mnist_cnn",
            "weights": {"sha256": digest(f"weights {seed}")},
            "preprocessing": {"color": "grey", "size": [28, 28]},
        }
        | values
    )
    return spec, model_digest(spec)


def check_of(**values: Any) -> NewJob:
    return NewJob(kind=JobKind.CHECK, request={}, **values)


def report() -> ModelReport:
    return ModelReport(
        classes=10, input_shape=[1, 28, 28], parameters=1000, traced=True, linear_head="fc", layers=[], methods={}
    )
