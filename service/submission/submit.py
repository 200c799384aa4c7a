"""From a body to a job in the ledger. Everything is checked first; then images are stored; then the job is entered."""

import copy
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from attribution_contracts.comparisons import Cell, Comparison
from attribution_contracts.digests import canonical_digest
from attribution_contracts.jobs import JobRequest
from attribution_contracts.methods import disabled_in
from attribution_contracts.parameters.self_test import SelfTestParams
from attribution_contracts.problems import ErrorCode, FieldError, problem
from attribution_contracts.states import JobKind
from service.gateway.gateway import Gateway
from service.gateway.ready_models import ReadyModel
from service.http.bodies import Body, parse
from service.http.pointers import at
from service.http.problems import ProblemError, wrong_fields
from service.submission.fits import named_fits, wrong_fits
from service.submission.images import Staged, check_images, received, references
from service.submission.options import wrong_options
from service.submission.settled import pinned, settled
from service.submission.targets import count_maps, wrong_targets
from service.submission.tasks import data_job
from service.submission.work import Asked, all_asked, asked_of, too_much
from storage.artifacts.owned import owned_among
from storage.artifacts.store import StoreUnavailableError
from storage.ledger.jobs import IdempotencyMismatchError, Submitted, submit, submitted_before
from storage.ledger.records import NewJob
from storage.settings import Settings

log = logging.getLogger(__name__)

_FAULTS = frozenset({"exit", "segfault", "out_of_memory", "hang"})
MAX_VALUES = 50_000
"""Commas in a request: a wrong value deep in it takes a kilobyte to report."""
MAX_CHILDREN = 16
"""Of a self-test, where faults are not allowed."""
_COMPARED = frozenset({"model", "models", "explanation", "explanations", "labels", "deadline_s"})
"""What a cell of a comparison has otherwise, or leaves to the whole."""
_Settled = tuple[JobRequest, ReadyModel]
"""A request as it is for one model, and the model."""
_Obstacles = dict[str, str]
"""Why explanations, by pointer, cannot be made of one model."""


def submit_job(gateway: Gateway, tenant: str, body: Body, *, key: str | None, use_cache: bool) -> Submitted:
    """Enters the job that a body asks for, or finds the one that answers it already.

    Raises:
        ProblemError: Something is wrong with the request; nothing was stored.
    """
    request = parse(JobRequest, body.document, MAX_VALUES)
    staged = received(request, body)
    accepted = request.model_dump(mode="json", exclude_unset=True)
    _name_by_digest(accepted, staged)
    # What a job names may be gone by the time that its request comes again.
    if key is not None and not staged.wrong and (known := _under_key(gateway, tenant, key, accepted)) is not None:
        return known
    if request.task is not None:
        staged.require_nothing_wrong()
        new = _asked_for(gateway, tenant, request, accepted, data_job(gateway, tenant, request), key)
        return _entered(gateway, new, use_cache=use_cache)
    _require_harmless(gateway, request)
    staged.blame_each(ErrorCode.METHOD_DISABLED, _disabled(gateway, request))
    named = {image.image for _, image in references(request) if image.image is not None}
    owned = owned_among(gateway.engine, tenant, named)
    check_images(staged, request, owned, max_pixels=gateway.settings.max_image_pixels)
    models = _named_models(gateway, tenant, request, staged)
    asked, each, refused = list[Asked](), list[_Settled](), list[_Obstacles]()
    fits = named_fits(gateway, tenant, request)
    for pointer, model in models.items():
        each.append((settled(request, model), model))
        refused.append(_obstacles(model, pointer, each[-1][0]))
        asked += _check_against(model, pointer, each[-1][0], refused[-1], staged, gateway.settings)
        staged.blame_each(ErrorCode.INVALID_OPTION, wrong_fits(request, model, fits))
    if all(len(found) == len(request.asked_explanations()) for found in refused):
        staged.blame_each(ErrorCode.METHOD_NOT_APPLICABLE, _of_methods(refused))
    staged.require_nothing_wrong()
    job = _new_job(request, staged, each, refused)
    whole = all_asked(asked)
    job = replace(job, work=whole.work, cost=whole.cost if models else None, inputs=(*job.inputs, *fits.values()))
    staged.store()
    new = _asked_for(gateway, tenant, request, accepted, job, key)
    return _entered(gateway, new, use_cache=use_cache, staged=staged)


def _under_key(gateway: Gateway, tenant: str, key: str, accepted: dict[str, Any]) -> Submitted | None:
    try:
        return submitted_before(gateway.engine, tenant, key, canonical_digest(accepted))
    except IdempotencyMismatchError as error:
        raise ProblemError(ErrorCode.IDEMPOTENCY_MISMATCH, str(error)) from error


def _entered(gateway: Gateway, new: NewJob, *, use_cache: bool, staged: Staged | None = None) -> Submitted:
    gateway.store.require_room()  # for what the job would make
    try:
        found = submit(gateway.engine, new, use_cache=use_cache)
    except IdempotencyMismatchError as error:
        raise ProblemError(ErrorCode.IDEMPOTENCY_MISMATCH, str(error)) from error
    if staged is not None:
        _see_to(staged)
    if found.created and not found.job.status.is_terminal:
        gateway.publisher.wake(found.job.id)
    return found


def _see_to(staged: Staged) -> None:
    try:
        staged.see_to_stored()
    except StoreUnavailableError as error:  # the job is accepted, and its images were there a moment ago
        log.warning("not seen whether the images of a job are still in the store: %s", error)


def _disabled(gateway: Gateway, request: JobRequest) -> Iterator[FieldError]:
    for pointer, explanation in request.asked_explanations().items():
        if (detail := disabled_in(explanation, gateway.settings.disabled_methods)) is not None:
            yield FieldError(pointer=f"{pointer}/method", detail=detail)


def _require_harmless(gateway: Gateway, request: JobRequest) -> None:
    if gateway.settings.allow_faults:
        return
    for pointer, explanation in request.asked_explanations().items():
        if isinstance(explanation, SelfTestParams) and (field := _harm(explanation)) is not None:
            detail = (
                f"{explanation.action} as asked for harms a worker, or keeps it: the operator must set"
                " ATTRIBUTION_ALLOW_FAULTS=true to allow it"
            )
            raise wrong_fields([FieldError(pointer=f"{pointer}/{field}", detail=detail)])


def _harm(asked: SelfTestParams) -> str | None:
    """The field of a self-test that costs others something, if one does."""
    if asked.action in _FAULTS:
        return "action"
    if asked.action == "sleep" and asked.seconds:
        return "seconds"
    return "children" if asked.action == "fan_out" and asked.children > MAX_CHILDREN else None


def _named_models(gateway: Gateway, tenant: str, request: JobRequest, staged: Staged) -> dict[str, ReadyModel]:
    """The versions that the request names, by pointer."""
    found: dict[str, ReadyModel] = {}
    for pointer, ref in request.asked_models().items():
        try:
            found[pointer] = gateway.models.ready(tenant, ref, pointer)
        except ProblemError as error:
            if not staged.wrong:
                raise
            staged.blame_each(error.problem.code, error.problem.errors)
    return found


def _check_against(
    model: ReadyModel, pointer: str, request: JobRequest, without: _Obstacles, staged: Staged, settings: Settings
) -> list[Asked]:
    """Notes what does not fit a model, but for what it cannot be explained by; returns what is asked of it."""
    name, found = _name_of(request, pointer), list[Asked]()
    for where, explanation in request.asked_explanations().items():
        if where in without:
            continue
        maps = count_maps(request, explanation, model)
        if maps > settings.max_maps:
            detail = f"{explanation.method} would make {maps} maps, at most {settings.max_maps} are accepted"
            staged.blame(ErrorCode.INVALID_REQUEST, "/inputs", f"{detail}: {_fewer(request)}")
        found.append(asked_of(request, explanation, model))
        if found[-1].work > settings.max_work:
            detail = too_much(request, explanation, model, found[-1].work, settings.max_work)
            staged.blame(ErrorCode.INVALID_OPTION, where, detail)
    for code, errors in (
        (ErrorCode.INVALID_TARGET, wrong_targets(request, model)),
        (ErrorCode.INVALID_OPTION, wrong_options(request, model)),
    ):
        ours = (error for error in errors if not any(f"{error.pointer}/".startswith(f"{one}/") for one in without))
        staged.blame_each(code, (_of(name, error) if request.models else error for error in ours))
    return found


def _name_of(request: JobRequest, pointer: str) -> str:
    """What the request calls the model at a pointer."""
    return str(at(request.model_dump(mode="json", include={"model", "models"}), pointer))


def _obstacles(model: ReadyModel, pointer: str, request: JobRequest) -> _Obstacles:
    """The explanations that a model cannot be explained by, and why."""
    name, default = _name_of(request, pointer), model.report.default
    meant = "" if default is None else f"; auto, the default, is {default.method} here"
    found = {where: model.obstacle(one.method, name) for where, one in request.asked_explanations().items()}
    return {where: f"{detail}{meant}" for where, detail in found.items() if detail is not None}


def _of_methods(refused: list[_Obstacles]) -> Iterator[FieldError]:
    for found in refused:
        yield from (FieldError(pointer=f"{where}/method", detail=detail) for where, detail in found.items())


def _fewer(request: JobRequest) -> str:
    """What to do about a request that makes too many maps."""
    return "send fewer images" if len(request.inputs) > 1 else "ask for fewer classes or layers of the image"


def _of(model: str, error: FieldError) -> FieldError:
    return FieldError(pointer=error.pointer, detail=f"{model}: {error.detail}")


def _new_job(request: JobRequest, staged: Staged, each: list[_Settled], refused: list[_Obstacles]) -> NewJob:
    if not each:
        new = NewJob(kind=JobKind.SELF_TEST, request={}, resolved=_resolved(request, staged), method="self_test")
    else:
        new = _comparison(staged, each, refused) if request.is_comparison else _single(staged, each[0])
    methods = {one.method for asked, _ in each for one in asked.asked_explanations().values()}
    method = methods.pop() if len(methods) == 1 else new.method
    return replace(new, method=method, inputs=tuple(staged.artifacts.values()))


def _asked_for(
    gateway: Gateway, tenant: str, request: JobRequest, accepted: dict[str, Any], job: NewJob, key: str | None
) -> NewJob:
    """The job with what every request says of its own, whatever it asks for."""
    return replace(
        job,
        tenant=tenant,
        request=accepted,
        labels=request.labels,
        priority=request.priority,
        seed=request.seed,
        idempotency_key=key,
        idempotency_digest=None if key is None else canonical_digest(accepted),
        max_attempts=gateway.settings.max_attempts,
        deadline_s=request.deadline_s,
    )


def _single(staged: Staged, settled_for: _Settled) -> NewJob:
    request, model = settled_for
    cell = Cell(request=pinned(request, _resolved(request, staged), model), model=model.identity)
    return NewJob(kind=JobKind.EXPLAIN, request={}, resolved=cell.request, model=cell.model, cache_key=cell.cache_key())


def _comparison(staged: Staged, each: list[_Settled], refused: list[_Obstacles]) -> NewJob:
    cells = [
        cell
        for (asked, model), without in zip(each, refused, strict=True)
        for cell in _cells(asked, _resolved(asked, staged), model, without)
    ]
    identities = {model.identity.sha256: model.identity for _, model in each}
    return NewJob(
        kind=JobKind.COMPARE,
        request={},
        resolved=Comparison(cells=cells).model_dump(mode="json"),
        model=next(iter(identities.values())) if len(identities) == 1 else None,
        cache_key=canonical_digest([cell.cache_key() for cell in cells]),
    )


def _cells(request: JobRequest, resolved: dict[str, Any], model: ReadyModel, without: _Obstacles) -> Iterator[Cell]:
    shared = {name: value for name, value in resolved.items() if name not in _COMPARED}
    for index, (pointer, asked) in enumerate(zip(request.asked_explanations(), request.separated(), strict=True)):
        one = copy.deepcopy(shared | {"explanation": at(resolved, pointer)})
        found = without.get(pointer)
        error = None if found is None else problem(ErrorCode.METHOD_NOT_APPLICABLE, found)
        yield Cell(request=pinned(asked, one, model), model=model.identity, explanation=index, refused=error)


def _resolved(request: JobRequest, staged: Staged) -> dict[str, Any]:
    document = request.model_dump(mode="json", exclude_none=True)
    _name_by_digest(document, staged)
    return document


def _name_by_digest(document: dict[str, Any], staged: Staged) -> None:
    for pointer, digest in staged.digests.items():
        reference = at(document, pointer)
        for source in ("data", "part"):
            reference.pop(source, None)
        reference["image"] = digest
