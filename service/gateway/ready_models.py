"""The models that jobs may name: found by reference, kept parsed, and what a job asks of them."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from textwrap import shorten

from sqlalchemy import Engine

from attribution_contracts.default_method import with_default
from attribution_contracts.hints import closest
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.models import ModelReport
from attribution_contracts.problems import ErrorCode, FieldError
from attribution_contracts.states import ModelState
from service.http.problems import ProblemError, wrong_fields
from storage.registry.models import Standing, checked, find_model, near, state_of

_KEPT = 64
_REASON = 300
"""Letters of the reason for which a version was refused, in the problem of a job for it."""
TRUSTED_S = 1.0
"""How long a version that was found is taken to be there still: another gateway may delete it."""


@dataclass(frozen=True)
class ReadyModel:
    """A version that is ready: what the gateway checks a job against."""

    identity: ModelIdentity
    labels: dict[str, list[int]]
    """Indices of the classes that have each name."""
    report: ModelReport
    backgrounds: dict[str, int]
    """How many images each of its named sets has."""

    def obstacle(self, method: str, name: str) -> str | None:
        """Why a method does not apply to the version, which the request calls by a name; nothing where it does."""
        if method == "auto":  # it was not settled
            return f"{name} has no default method: name one; its report says which apply, and why others do not"
        found = self.report.methods.get(method)
        # A report that is older than the method says nothing of it: the worker will see.
        return None if found is None or found.applies else f"{method} does not apply to {name}: {found.reason}"


class ReadyModels:
    """Versions that are ready never change, so each is read and parsed once for each check that made it ready.

    The check stands in the key: one that was deleted and registered again has the same content and may have another
    report, and only one gateway heard of it.

    One that is named with its version is not even looked for again for a moment. A job that is accepted just as another
    gateway deletes its model fails with a worker that finds the model gone; it never runs with another.
    """

    def __init__(self, engine: Engine, trusted_s: float = TRUSTED_S, disabled: Collection[str] = ()) -> None:
        self._engine = engine
        self._disabled = disabled
        self._trusted_s = trusted_s
        self._parsed = lru_cache(maxsize=_KEPT)(self._parse)
        self._exact: dict[tuple[str, str], tuple[ReadyModel, float]] = {}

    def ready(self, tenant: str, ref: str, pointer: str = "/model") -> ReadyModel:
        """The version that a job means by `name` or `name@version`, which it names at the pointer.

        Raises:
            ProblemError: There is none, or it is not ready.
        """
        now = time.monotonic()
        known = self._exact.get((tenant, ref))
        if known is not None and now < known[1]:
            return known[0]
        found = state_of(self._engine, tenant, ref)
        if found is None:
            raise wrong_fields([self._unknown(tenant, ref, pointer)], ErrorCode.UNKNOWN_MODEL)
        if found.state is not ModelState.READY:
            raise not_ready(self._engine, tenant, found, pointer)
        model = self._parsed(tenant, found.identity, found.check_job)
        if model is None:  # it was deleted just now
            raise wrong_fields([self._unknown(tenant, ref, pointer)], ErrorCode.UNKNOWN_MODEL)
        if "@" in ref:  # a name alone may mean another version tomorrow
            if len(self._exact) >= _KEPT:
                self._exact.clear()
            self._exact[tenant, ref] = model, now + self._trusted_s
        return model

    def forget(self, tenant: str, name: str, version: str) -> None:
        """Looks for a version again that was deleted."""
        self._exact.pop((tenant, f"{name}@{version}"), None)

    def _parse(self, tenant: str, identity: ModelIdentity, check_job: str) -> ReadyModel | None:
        found = checked(self._engine, tenant, identity, check_job)
        if found is None:
            return None
        spec, report = found
        labels = dict[str, list[int]]()
        for index, label in enumerate(spec.labels):
            labels.setdefault(label, []).append(index)
        return ReadyModel(
            identity,
            labels,
            with_default(report, self._disabled),
            {name: len(images) for name, images in spec.backgrounds.items()},
        )

    def _unknown(self, tenant: str, ref: str, pointer: str) -> FieldError:
        known = near(self._engine, tenant, ref.partition("@")[0])
        names = sorted({name for name, _, _ in known} | {f"{name}@{version}" for name, version, _ in known})
        return FieldError(pointer=pointer, detail=f"no model {ref!r} is registered; {closest(ref, names)}")


def not_ready(engine: Engine, tenant: str, found: Standing, pointer: str = "/model") -> ProblemError:
    """The problem of a version that is still checked, or was refused, with the reason."""
    ref = f"{found.identity.name}@{found.identity.version}"
    where = f"/v1/models/{found.identity.name}/versions/{found.identity.version}"
    if found.state is ModelState.CHECKING:
        detail = f"model {ref} is still being checked by a worker: try again soon, or watch {where}"
        errors = [FieldError(pointer=pointer, detail=f"model {ref} is checking; a job needs one that is ready")]
        return ProblemError(ErrorCode.MODEL_NOT_READY, detail, errors=errors, retryable=True)
    version = find_model(engine, tenant, ref)
    reason = "" if version is None or version.error is None else f": {shorten(version.error.detail, _REASON)}"
    detail = (
        f"model {ref} was refused{reason}; GET {where} or `attribution models show {ref}` says all of it; register a "
        "repaired one"
    )
    return ProblemError(ErrorCode.MODEL_NOT_READY, detail, errors=[FieldError(pointer=pointer, detail=detail)])
