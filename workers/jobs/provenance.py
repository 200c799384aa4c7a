"""Where a result comes from: everything needed to compute it again, and where the time went."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from attribution_contracts.results import Provenance
from storage.ledger.records import Claim
from workers.context import WorkerContext


class Stopwatch:
    """Seconds by stage; a stage that comes again is added."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Times the block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


def provenance(
    context: WorkerContext,
    claimed: Claim,
    *,
    method: str,
    version: int,
    parameters: dict[str, Any],
    backgrounds: dict[str, str] | None = None,
    checks_sha256: str | None = None,
    seconds: dict[str, float],
) -> Provenance:
    """The provenance of a result of this worker."""
    return Provenance(
        model_name=claimed.model and claimed.model.name,
        model_version=claimed.model and claimed.model.version,
        model_sha256=claimed.model and claimed.model.sha256,
        method=method,
        method_version=version,
        parameters=parameters,
        backgrounds=backgrounds or {},
        checks_sha256=checks_sha256,
        seed=claimed.seed,
        torch=torch.__version__,
        device=_device_name(context.models.device),
        threads=torch.get_num_threads(),
        worker=claimed.worker,
        attempt=claimed.attempt,
        seconds={stage: round(value, 6) for stage, value in seconds.items()},
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
