"""Parameters of the self-test."""

from typing import Annotated, Literal

from pydantic import Field

from attribution_contracts.base import Sha256
from attribution_contracts.parameters.base import MethodParams


class SelfTestParams(MethodParams):
    """A job that needs no model and does as it is told: for doctors and fault tests."""

    version = 1
    use = "for an operator: whether jobs run"
    guarantee = "does what `action` says"
    cost_class = "none"
    takes = "none"
    takes_model = False
    has_engine = False

    method: Literal["self_test"]
    action: Literal["nothing", "sleep", "fail", "exit", "segfault", "out_of_memory", "hang", "fan_out"] = "nothing"
    """What the worker does."""
    seconds: Annotated[float, Field(ge=0, le=3600, strict=True)] = 0.0
    """How long `sleep` sleeps, in steps of 0.05 s between which it can be cancelled."""
    children: Annotated[int, Field(ge=1, le=1000, strict=True)] = 4
    """How many children `fan_out` makes; each does nothing, and the merge counts them."""
    artifact: Sha256 | None = None
    """An artefact that the worker must have in its store: one that lacks it has another store than who stored it."""
    times: Annotated[int, Field(ge=1, le=1000, strict=True)] = 1000
    """`fail`, `exit`, `segfault`, `out_of_memory` and `hang` only strike on this many first attempts."""
