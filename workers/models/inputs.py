"""What a job works on: its network, and its images as tensors, each of which succeeds or fails by itself."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from attribution import Network
from attribution.errors import OverBudget
from attribution.networks.forms import NetworkRefuses
from attribution.networks.measures import Check
from attribution_contracts.digests import canonical_digest
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.images import ImageRef
from attribution_contracts.jobs import InputImage, JobRequest
from attribution_contracts.models import ModelReport, ModelSpec
from attribution_contracts.problems import Problem
from storage.ledger.records import Claim
from storage.registry.models import report_by_digest, spec_by_digest
from workers.context import WorkerContext
from workers.errors import problem_of
from workers.images.decoding import decode
from workers.images.evidence import in_boxes, in_mask
from workers.images.preprocessing import Prepared, View, preprocess
from workers.methods.baselines import Row
from workers.models.loading import LoadedModule, load_module
from workers.models.report import checks_of
from workers.problems import InvalidImage, InvalidModel, MissingArtifact, WorkProblem, absence

KEPT_BYTES = 256 * 1024 * 1024
"""Memory for decoded baselines and backgrounds of a job: 400 of 224 x 224."""


class Loaded(NamedTuple):
    """A network on the worker's device, with its specification."""

    network: Network
    spec: ModelSpec

    @property
    def checks_sha256(self) -> str:
        """The digest of what was measured of it."""
        return canonical_digest([check.model_dump(mode="json") for check in checks_of(self.network)])

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what it takes."""
        return self.spec.preprocessing.channels, *self.spec.preprocessing.size


class Fetched:
    """Baselines and backgrounds of one job: each is decoded once, as far as there is room to keep it."""

    def __init__(self, context: WorkerContext, spec: ModelSpec) -> None:
        self._context, self._spec = context, spec
        self._kept: dict[str, Tensor] = {}
        self._room = KEPT_BYTES

    def __call__(self, ref: ImageRef) -> Tensor:
        """An image on the worker's device, as the model sees it.

        Raises:
            InvalidImage: It is none.
        """
        digest = _digest(ref)
        if digest in self._kept:
            return self._kept[digest]
        try:
            found = _prepared(self._context, self._spec, ref).tensor.to(self._context.models.device)
        except InvalidImage as error:
            raise InvalidImage(f"baseline or background {digest}: {error}") from error
        # What goes round in a circle is best served by keeping what came first.
        if found.nbytes <= self._room:
            self._kept[digest] = found
            self._room -= found.nbytes
        return found


class Photographs:
    """The images of one job as they were sent, for maps that are drawn on them: kept as far as there is room."""

    def __init__(self, context: WorkerContext, spec: ModelSpec) -> None:
        self._context, self._spec = context, spec
        self._kept: dict[str, Image.Image] = {}
        self._room = KEPT_BYTES

    def __call__(self, ref: ImageRef) -> Image.Image:
        """One of them."""
        digest = _digest(ref)
        if digest in self._kept:
            return self._kept[digest]
        found = _decoded(self._context, ref, self._spec.preprocessing.color).convert("RGB")
        size = 3 * found.width * found.height
        if size <= self._room:
            self._kept[digest] = found
            self._room -= size
        return found


class Refused(NamedTuple):
    """An image that cannot be explained, and why."""

    position: int
    """In the request."""
    given: InputImage
    sha256: str
    error: Problem


def load_model(context: WorkerContext, claimed: Claim) -> Loaded:
    """The network that the job is pinned to, from the cache where it is there.

    Raises:
        InvalidModel: It is registered no longer.
        MissingArtifact: Its weights are gone.
    """
    assert claimed.model is not None  # noqa: S101 - the gateway pins every explanation
    digest = claimed.model.sha256
    spec = spec_by_digest(context.engine, claimed.tenant, digest)
    if spec is None:
        raise InvalidModel(f"model {claimed.model.name}@{claimed.model.version} was deleted after the job was accepted")
    report = report_by_digest(context.engine, claimed.tenant, digest)
    key = _key(digest, report)
    network = context.models.get(key, lambda: build_network(context, spec, report), _bytes_known(report))
    return Loaded(network, spec)


def _key(digest: str, report: ModelReport | None) -> str:
    """What a network is kept under: its content, and what it takes from the report, which another check may change."""
    return canonical_digest([digest, report and report.model_dump(mode="json", include={"link", "checks"})])


def _bytes_known(report: ModelReport | None) -> int:
    """What the loaded network will take, as far as its check told."""
    if report is None:
        return 0
    return report.weight_bytes or report.parameters * torch.float32.itemsize


def build_network(context: WorkerContext, spec: ModelSpec, report: ModelReport | None = None) -> Network:
    """Builds the network of a specification and loads its weights; measures it where no report has done so."""
    return network_of(context, spec, loaded_weights(context, spec).module, report)


def network_of(
    context: WorkerContext, spec: ModelSpec, module: nn.Module, report: ModelReport | None = None
) -> Network:
    """The network of a module with its weights.

    Raises:
        InvalidModel: A pass of one image fails, or takes more memory than the operator allows.
    """
    was_measured = report is not None and report.checks
    checks = [Check(**check.model_dump()) for check in report.checks] if report is not None and was_measured else None
    shape = (spec.preprocessing.channels, *spec.preprocessing.size)
    link = report.link if report is not None and was_measured else spec.link
    try:
        return Network(module, shape, link=link, checks=checks, budget=context.settings.check_bytes)
    except OverBudget as error:
        raise InvalidModel(str(error)) from error
    except NetworkRefuses as error:
        raise InvalidModel(f"{error}{_other_colour(module, spec)}") from error


def _other_colour(module: nn.Module, spec: ModelSpec) -> str:
    """A hint where the first convolution takes the channels of the other colour."""
    first = next((found for found in module.modules() if isinstance(found, nn.Conv2d)), None)
    other = {1: "grey", 3: "rgb"}.get(first.in_channels) if first is not None else None
    if first is None or other in {None, spec.preprocessing.color}:
        return ""
    taken = f"its first convolution takes {first.in_channels}, and color={spec.preprocessing.color} gives"
    return f"; {taken} {spec.preprocessing.channels}: register it with --color {other} (preprocessing.color: {other!r})"


def loaded_weights(context: WorkerContext, spec: ModelSpec) -> LoadedModule:
    """Builds the architecture of a specification and loads its weights.

    Raises:
        InvalidModel: The weights are not those of the architecture.
        MissingArtifact: They are not in the store.
    """
    load = partial(
        load_module,
        factories=context.config.factories,
        max_parameters=context.settings.max_parameters,
        max_pass_bytes=context.settings.check_bytes,
        device=context.models.device,
    )
    if spec.weights.sha256 is None:
        return load(spec, None)
    if not context.store.has(spec.weights.sha256):
        raise MissingArtifact(absence(f"the weights {spec.weights.sha256} are", context.store, "upload them again"))
    with context.store.local_path(spec.weights.sha256) as path:
        return load(spec, path)


def prepare(
    context: WorkerContext,
    request: JobRequest,
    loaded: Loaded,
    positions: Iterable[int],
    fetch: Fetched,
    progress: Callable[[int], None],
) -> tuple[list[Row], list[Refused]]:
    """Decodes and normalises some of the images; one that cannot be decoded does not touch the others.

    `progress` is called before each with its position, and raises to stop.
    """
    rows: list[Row] = []
    refused: list[Refused] = []
    for position in positions:
        progress(position)
        given = request.inputs[position]
        sha256 = _digest(given)
        try:
            rows.append(_row(context, request, loaded, position, fetch))
        except WorkProblem as error:
            refused.append(Refused(position, given, sha256, problem_of(error, sha256)))
    return rows, refused


def _row(context: WorkerContext, request: JobRequest, loaded: Loaded, position: int, fetch: Fetched) -> Row:
    given = request.inputs[position]
    prepared = _prepared(context, loaded.spec, given)
    return Row(
        position=position,
        given=given,
        sha256=_digest(given),
        inputs=prepared.tensor.to(context.models.device),
        displayed=prepared.displayed,
        view=prepared.view,
        target=given.target or getattr(request.explanation, "target", None),
        preprocessing=loaded.spec.preprocessing,
        seed=request.seed,
        backgrounds=loaded.spec.backgrounds,
        fetch=fetch,
        evidence=_evidence(context, loaded.spec, given, prepared.view),
    )


def _evidence(context: WorkerContext, spec: ModelSpec, given: InputImage, view: View) -> Tensor | None:
    """Where the evidence is said to be, in what the network sees.

    Raises:
        InvalidImage: The mask cannot be read, or it or the boxes do not fit the image.
    """
    if given.boxes is not None:
        return in_boxes(given.boxes, view, spec.preprocessing.size).to(context.models.device)
    if given.mask is None:
        return None
    try:
        mask = _decoded(context, given.mask, "grey")
    except InvalidImage as error:
        raise InvalidImage(f"mask {_digest(given.mask)}: {error}", retryable=error.retryable) from error
    return in_mask(mask, view, spec.preprocessing.size).to(context.models.device)


def displayed(context: WorkerContext, tenant: str, model: ModelIdentity, given: ImageRef) -> Image.Image | None:
    """An image as a model sees it, before normalisation; nothing where it cannot be had."""
    spec = spec_by_digest(context.engine, tenant, model.sha256)
    try:
        return None if spec is None else _prepared(context, spec, given).displayed
    except WorkProblem:
        return None


def _prepared(context: WorkerContext, spec: ModelSpec, ref: ImageRef) -> Prepared:
    return preprocess(_decoded(context, ref, spec.preprocessing.color), spec.preprocessing)


def _decoded(context: WorkerContext, ref: ImageRef, color: Literal["rgb", "grey"]) -> Image.Image:
    try:
        data = context.store.get(_digest(ref))
    except FileNotFoundError as error:
        # Where it went with another job just as this one was entered, the gateway is about to put it back.
        detail = absence(f"image {_digest(ref)} is", context.store, "upload it again")
        raise InvalidImage(detail, retryable=True) from error
    return decode(data, color, max_pixels=context.settings.max_image_pixels)


def _digest(ref: ImageRef) -> str:
    assert ref.image is not None  # noqa: S101 - the gateway replaced bytes and parts by digests
    return ref.image


def artifact(context: WorkerContext, sha256: str) -> bytes:
    """An artefact that a request or a part of a job refers to.

    Raises:
        MissingArtifact: It is gone.
    """
    try:
        return context.store.get(sha256)
    except FileNotFoundError as error:
        detail = absence(f"the artefact {sha256} is", context.store, "run the job that made it again")
        raise MissingArtifact(detail) from error


def stacked(rows: Sequence[Row]) -> Tensor:
    """The inputs of some images as one batch."""
    return torch.stack([row.inputs for row in rows])
