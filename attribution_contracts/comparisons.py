"""A comparison as the worker gets it: resolved requests of one model and one explanation each."""

from typing import Any

from attribution_contracts.base import Wire
from attribution_contracts.digests import canonical_digest
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.methods import METHODS
from attribution_contracts.problems import Problem
from attribution_contracts.states import JobKind

_NO_PART_OF_THE_ANSWER = ("priority", "labels", "deadline_s")


class Cell(Wire):
    """One model and one explanation."""

    request: dict[str, Any]
    """A `JobRequest`, pinned to the model's version, with images by digest and classes by index."""
    model: ModelIdentity
    explanation: int = 0
    """Position among the explanations of the comparison."""
    refused: Problem | None = None
    """Why the method does not apply to the model: nothing is computed for it."""

    @property
    def method(self) -> str:
        """The method's id on the wire."""
        return str(self.request["explanation"]["method"])

    def cache_key(self) -> str:
        """What has the same key has the same answer."""
        return canonical_digest(
            {
                "kind": JobKind.EXPLAIN.value,
                "method_version": METHODS[self.method].version,
                "model_sha256": self.model.sha256,
                "request": {name: given for name, given in self.request.items() if name not in _NO_PART_OF_THE_ANSWER},
            }
        )


class Comparison(Wire):
    """The parts of a comparison, explanations within models."""

    cells: list[Cell]
