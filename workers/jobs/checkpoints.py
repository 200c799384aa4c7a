"""What a long attempt leaves for the next one, should its worker be lost."""

import time
from collections.abc import Callable

from safetensors.torch import load, save
from torch import Tensor

from storage.ledger.checkpoints import KEEPING, find_checkpoint, set_checkpoint
from storage.ledger.records import Claim
from workers.context import WorkerContext

KEEP_EVERY_S = 30.0
"""A checkpoint costs a file in the artefact store; less work than this is sooner done again."""


class Checkpoints:
    """The last checkpoint of a job: in the artefact store, with its digest in the ledger.

    It is forgotten with the finish that ends the job, once that is accepted.
    """

    def __init__(self, context: WorkerContext, claimed: Claim) -> None:
        assert claimed.kind in KEEPING  # noqa: S101 - or else nobody forgets what is kept
        self._context, self._claimed = context, claimed
        self._kept_at = time.monotonic()

    def last(self) -> dict[str, Tensor] | None:
        """What the attempt before left, or nothing."""
        digest = find_checkpoint(self._context.engine, self._claimed.job_id)
        try:
            return None if digest is None else load(self._context.store.get(digest))
        except FileNotFoundError:
            return None

    def keep(self, state: Callable[[], dict[str, Tensor]]) -> None:
        """Stores the state in place of what was stored before, unless that was a moment ago."""
        if time.monotonic() - self._kept_at < KEEP_EVERY_S:
            return
        # The attempt's own bytes, whatever the state is: nothing else ever names them, so that they can be deleted.
        own = {"job": self._claimed.job_id, "attempt": str(self._claimed.attempt)}
        digest = self._context.store.put(save(state(), metadata=own))
        left = set_checkpoint(self._context.engine, self._claimed, digest)
        if left is not None:
            self._context.store.discard(left)
        self._kept_at = time.monotonic()
