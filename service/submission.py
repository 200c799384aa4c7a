"""From a body to a job in the ledger. Everything is checked first; then images are stored; then the job is entered."""

from typing import Any

from contracts.digests import canonical_digest
from contracts.jobs import JobRequest
from contracts.methods import METHODS, SelfTestParams
from contracts.problems import ErrorCode, FieldError
from contracts.states import JobKind
from service.bodies import Body, parse
from service.classifiers import Classifier
from service.gateway import Gateway
from service.pointers import at
from service.problems import ProblemError, wrong_fields
from service.staging import Staged, references, stage
from service.targets import count_maps, targets_of, with_indices, wrong_targets
from storage.jobs import IdempotencyMismatchError, Submitted, submit
from storage.owned import owned_among
from storage.records import NewJob

_FAULTS = frozenset({"exit", "segfault", "out_of_memory", "hang"})
_NO_PART_OF_THE_ANSWER = ("priority", "labels", "deadline_s")


def submit_job(gateway: Gateway, tenant: str, body: Body, *, key: str | None, use_cache: bool) -> Submitted:
    """Enters the job that a body asks for, or finds the one that answers it already.

    Raises:
        ProblemError: Something is wrong with the request; nothing was stored.
    """
    request = parse(JobRequest, body.document)
    _require_harmless(gateway, request)
    named = {image.image for _, image in references(request) if image.image is not None}
    owned = owned_among(gateway.engine, tenant, named)
    staged = stage(request, body.files, owned, max_pixels=gateway.settings.max_image_pixels)
    classifier = None
    try:
        classifier = _classifier(gateway, tenant, request)
    except ProblemError as error:
        if not staged.wrong:
            raise
        staged.wrong.setdefault(error.problem.code, []).extend(error.problem.errors)
    if classifier is not None:
        _check_against(classifier, request, staged, gateway.settings.max_maps)
    _require_nothing_wrong(staged)
    new = _new_job(gateway, tenant, request, staged, classifier, key)
    staged.store(gateway.store)
    try:
        found = submit(gateway.engine, new, use_cache=use_cache)
    except IdempotencyMismatchError as error:
        raise ProblemError(ErrorCode.IDEMPOTENCY_MISMATCH, str(error)) from error
    if found.created and not found.job.status.is_terminal:
        gateway.publisher.wake(found.job.id)
    return found


def _require_harmless(gateway: Gateway, request: JobRequest) -> None:
    explanation = request.explanation
    if not isinstance(explanation, SelfTestParams) or explanation.action not in _FAULTS:
        return
    if not gateway.settings.allow_faults:
        detail = f"{explanation.action} harms a worker: the operator must set ATTRIBUTION_ALLOW_FAULTS=true to allow it"
        raise wrong_fields([FieldError(pointer="/explanation/action", detail=detail)])


def _classifier(gateway: Gateway, tenant: str, request: JobRequest) -> Classifier | None:
    return None if request.model is None else gateway.classifiers.ready(tenant, request.model)


def _check_against(classifier: Classifier, request: JobRequest, staged: Staged, max_maps: int) -> None:
    method = request.explanation.method
    applies = classifier.report.methods.get(method)
    if applies is None or not applies.applies:
        reason = applies.reason if applies and applies.reason else "its check did not cover the method"
        detail = f"{method} does not apply to {request.model}: {reason}"
        staged.blame(ErrorCode.METHOD_NOT_APPLICABLE, "/explanation/method", detail)
    for error in wrong_targets(request, classifier):
        staged.blame(ErrorCode.INVALID_TARGET, error.pointer, error.detail)
    maps = count_maps(request, classifier)
    if maps > max_maps:
        detail = f"images times targets make {maps} maps, at most {max_maps} are accepted in one job: split it"
        staged.blame(ErrorCode.INVALID_REQUEST, "/inputs", detail)


def _require_nothing_wrong(staged: Staged) -> None:
    if not staged.wrong:
        return
    errors: list[FieldError] = [error for found in staged.wrong.values() for error in found]
    code = next(iter(staged.wrong)) if len(staged.wrong) == 1 else ErrorCode.INVALID_REQUEST
    raise wrong_fields(errors, code)


def _new_job(
    gateway: Gateway, tenant: str, request: JobRequest, staged: Staged, classifier: Classifier | None, key: str | None
) -> NewJob:
    accepted = request.model_dump(mode="json", exclude_unset=True)
    resolved = request.model_dump(mode="json", exclude_none=True)
    for document in (accepted, resolved):
        _name_by_digest(document, staged)
    if classifier is not None:
        _pin(resolved, request, classifier)
    method = request.explanation.method
    return NewJob(
        kind=JobKind.SELF_TEST if isinstance(request.explanation, SelfTestParams) else JobKind.EXPLAIN,
        method=method,
        tenant=tenant,
        request=accepted,
        resolved=resolved,
        labels=request.labels,
        priority=request.priority,
        seed=request.seed,
        model=classifier.identity if classifier else None,
        inputs=tuple(staged.artifacts.values()),
        idempotency_key=key,
        idempotency_digest=None if key is None else canonical_digest(accepted),
        cache_key=_cache_key(resolved, classifier, METHODS[method].version) if classifier else None,
        max_attempts=gateway.settings.max_attempts,
        deadline_s=request.deadline_s,
    )


def _name_by_digest(document: dict[str, Any], staged: Staged) -> None:
    for pointer, digest in staged.digests.items():
        reference = at(document, pointer)
        for source in ("data", "part"):
            reference.pop(source, None)
        reference["image"] = digest


def _pin(resolved: dict[str, Any], request: JobRequest, classifier: Classifier) -> None:
    resolved["model"] = f"{classifier.identity.name}@{classifier.identity.version}"
    for pointer, target in targets_of(request):
        owner, _, name = pointer.rpartition("/")
        indexed = with_indices(target, classifier)
        at(resolved, owner)[name] = indexed if isinstance(indexed, str) else indexed.model_dump(mode="json")


def _cache_key(resolved: dict[str, Any], classifier: Classifier, method_version: int) -> str:
    asked = {name: value for name, value in resolved.items() if name not in _NO_PART_OF_THE_ANSWER}
    return canonical_digest(
        {
            "kind": JobKind.EXPLAIN.value,
            "method_version": method_version,
            "model_sha256": classifier.identity.sha256,
            "request": asked,
        }
    )
