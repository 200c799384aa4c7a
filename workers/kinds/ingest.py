"""The procedure of a data set's ingestion: read the source, keep what decodes, pack it in order."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from sqlalchemy import Connection

from attribution_contracts.datasets import DatasetIndex, DatasetReport, DatasetSource, DatasetSpec
from attribution_contracts.results import Counts, Result
from storage.artifacts.store import StoreUnavailableError
from storage.artifacts.vanishing import vanishing_file
from storage.ledger.claims import Outcome, Succeeded
from storage.ledger.records import Claim, StoredArtifact
from storage.registry import datasets
from workers.context import WorkerContext
from workers.datasets.ahead import ahead
from workers.datasets.archives import BROKEN, archive_entries
from workers.datasets.entries import Entries, Entry, Limits, is_ignored, plain, wrong_name
from workers.datasets.layout import TABLE, Arranged, Found, Kept, arrange
from workers.datasets.locations import location_entries
from workers.images.decoding import decode
from workers.jobs.outputs import Outputs
from workers.jobs.provenance import provenance
from workers.jobs.tracking import Tracker, watched
from workers.problems import InvalidDataset, InvalidImage, absence

_SHOWN = 5


class _File(NamedTuple):
    """A file as it was read, with the reason why it is no image, or none."""

    name: str
    content: bytes
    digest: bytes
    refusal: str | None


def ingest(context: WorkerContext, claimed: Claim, tracker: Tracker) -> Outcome:
    """Refuses a source that is no data set, or stores its images as one pack with an index."""
    started = time.perf_counter()
    spec = DatasetSpec.model_validate(claimed.request)
    with _spool(context) as (spool, _):
        found = _read(context, spec.source, spool, tracker)
        arranged = arrange(found, spec.labels)
        _require_images(arranged, found)
        stored, sha256 = _store(context, claimed, arranged, spool, tracker)
    report = _report(arranged, found)
    seconds = {"ingest": time.perf_counter() - started}
    images, refused = report.images, report.refused
    result = Result(
        job=claimed.job_id,
        kind="ingest",
        counts=Counts(images=images + refused, succeeded=images, failed=refused),
        details={"sha256": sha256, "report": report.model_dump(mode="json")},
        provenance=provenance(context, claimed, method="ingest", version=1, parameters={}, seconds=seconds),
    )
    return Succeeded(result.model_dump(mode="json"), stored)


def accept(connection: Connection, claimed: Claim, outcome: Outcome) -> None:
    """Makes the data set of an ingestion that succeeded ready."""
    assert isinstance(outcome, Succeeded)  # noqa: S101 - an ingestion never fans out
    details = outcome.body["details"]
    report = DatasetReport.model_validate(details["report"])
    needs = {stored.sha256 for stored in outcome.artifacts}
    datasets.accept(connection, claimed.tenant, claimed.job_id, report, details["sha256"], needs)


def _read(context: WorkerContext, source: DatasetSource, spool: IO[bytes], tracker: Tracker) -> Found:
    """Writes every image that decodes to the spool, in the order of the source."""
    limits, found = Limits.of(context.settings), Found()
    with _entries(context, source, limits, tracker) as entries:
        contents = _contents(watched(entries, tracker.look), limits, found)
        for done, file in enumerate(ahead(lambda given: _checked(*given, limits), contents)):
            tracker.report(done, 0, "reading")
            if file.refusal is not None:
                found.refusals.add(file.name, file.refusal)
                continue
            found.kept.append(Kept(file.name, spool.tell(), len(file.content), file.digest))
            _write(spool, file.content)
    return found


@contextmanager
def _entries(context: WorkerContext, source: DatasetSource, limits: Limits, tracker: Tracker) -> Iterator[Entries]:
    """The files of the source."""
    try:
        if source.location is not None:
            yield location_entries(source.location, context.settings.dataset_locations, limits)
        elif source.sha256 is not None:
            with context.store.local_path(source.sha256) as path:
                yield archive_entries(path, limits)
        else:
            with _spool(context) as (joined, path):
                pieces = source.pieces or ()
                for done, digest in enumerate(pieces):
                    tracker.report(done, len(pieces), "joining the pieces")
                    _write(joined, context.store.get(digest))
                    limits.require_bytes(joined.tell())
                joined.flush()
                yield archive_entries(path, limits)
    except FileNotFoundError as error:
        raise InvalidDataset(
            absence(f"a file of the source ({error}) is", context.store, "send it again"), retryable=True
        ) from error


def _contents(entries: Entries, limits: Limits, found: Found) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file that may be an image."""
    total = 0
    for entry in entries:
        reason = entry.refusal or wrong_name(entry.name)
        if reason is None and is_ignored(entry.name):
            continue
        name = plain(entry.name)
        if reason is None and name in found.seen:
            reason = "another file has the same name"
        content = b""
        if reason is None:
            found.seen.add(name)
            content, reason = _content(entry, limits)
            total += len(content)
            limits.require_bytes(total)
        if reason is not None:
            found.refusals.add(entry.name, reason)
        elif name == TABLE or (name.endswith(f"/{TABLE}") and name.count("/") == 1):
            found.tables[name] = content
        else:
            if entry.label is not None:
                found.classes[name] = entry.label
            yield name, content


def _content(entry: Entry, limits: Limits) -> tuple[bytes, str | None]:
    """The bytes of a file, or why it has none that can be used."""
    most = limits.file_bytes
    if entry.size > most:
        return b"", f"the file has {entry.size:,} bytes, at most {most:,} are accepted"
    try:
        content = entry.read(most + 1)
    except BROKEN as error:
        return b"", f"the file cannot be read from the source: {error or type(error).__name__}"
    if len(content) > most:
        return content, f"the file has more than {most:,} bytes"
    if len(content) < entry.size:
        return content, f"the file ends after {len(content):,} of {entry.size:,} bytes"
    return content, None


def _checked(name: str, content: bytes, limits: Limits) -> _File:
    try:
        decode(content, "rgb", max_pixels=limits.pixels)
    except InvalidImage as error:
        return _File(name, b"", b"", str(error))
    return _File(name, content, hashlib.sha256(content).digest(), None)


def _require_images(arranged: Arranged, found: Found) -> None:
    if not arranged.placed:
        named = "; ".join(f"{file.name}: {file.reason}" for file in found.refusals.named[:_SHOWN])
        raise InvalidDataset(
            "the source has no usable image: expected JPEG, PNG or WebP files, a folder a class, or with a labels.csv; "
            f"refused: {found.refusals.count}{f' ({named})' if named else ''}"
        )


def _store(
    context: WorkerContext, claimed: Claim, arranged: Arranged, spool: IO[bytes], tracker: Tracker
) -> tuple[list[StoredArtifact], str]:
    """Stores pack and index; the index's digest is the data set's."""
    total, outputs = len(arranged.placed), Outputs(context, claimed)
    with context.store.upload() as upload:
        for done, one in enumerate(arranged.placed):
            tracker.report(done, total, "packing")
            spool.seek(one.kept.offset)
            upload.write(spool.read(one.kept.size))
        digest, size = upload.stored
        content = _index(arranged, digest).model_dump_json().encode()
        sha256 = hashlib.sha256(content).hexdigest()
        stored = [
            StoredArtifact(digest, "application/octet-stream", size),
            StoredArtifact(sha256, "application/json", len(content)),
        ]
        outputs.enter(stored)
        upload.commit()
    context.store.put(content, sha256)
    return stored, sha256


def _index(arranged: Arranged, pack: str) -> DatasetIndex:
    offsets, end = [], 0
    for one in arranged.placed:
        offsets.append(end)
        end += one.kept.size
    return DatasetIndex(
        pack=pack,
        labels=arranged.labels,
        names=[one.name for one in arranged.placed],
        classes=[one.label for one in arranged.placed],
        offsets=offsets,
        sizes=[one.kept.size for one in arranged.placed],
        digests=[one.kept.digest.hex() for one in arranged.placed],
    )


def _report(arranged: Arranged, found: Found) -> DatasetReport:
    counts = [0] * len(arranged.labels)
    for one in arranged.placed:
        counts[one.label] += 1
    return DatasetReport(
        images=len(arranged.placed),
        labels=arranged.labels,
        counts=counts,
        refused=found.refusals.count,
        refusals=found.refusals.named,
        duplicates=arranged.duplicates,
        order=arranged.order,
        warnings=arranged.warnings,
    )


def _spool(context: WorkerContext) -> AbstractContextManager[tuple[IO[bytes], Path]]:
    """A temporary file in the data folder, which unlike the system's is made for large ones."""
    folder = context.settings.resolved_data_dir
    folder.mkdir(parents=True, exist_ok=True)
    return vanishing_file(folder)


def _write(spool: IO[bytes], content: bytes) -> None:
    try:
        spool.write(content)
    except OSError as error:
        raise StoreUnavailableError(f"the worker's data folder cannot hold the data set: {error}") from error
