"""Data sets as people pack them."""

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from attribution_contracts.datasets import DatasetSpec
from attribution_contracts.states import JobKind
from storage.ledger.claims import claim
from storage.ledger.records import NewJob
from storage.registry import datasets
from storage.tables import DEFAULT_TENANT
from tests.workers.pictures import SIDE, png
from workers.jobs.procedure import run_jobs


def pixels(seed: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def flowers(per_class: int = 3) -> dict[str, bytes]:
    """Two classes, by the names that an `.npz` would give them."""
    return {
        f"{label}/{label * per_class + index:06}.png": png(pixels(label * per_class + index))
        for label in range(2)
        for index in range(per_class)
    }


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w", members: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return target.getvalue()


def npz(images: np.ndarray, labels: np.ndarray) -> bytes:
    target = io.BytesIO()
    np.savez_compressed(target, images=images, labels=labels)
    return target.getvalue()


def folder(files: dict[str, bytes], root: Path) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def ingested(context: Any, source: bytes | dict[str, Any], name: str = "flowers", labels: tuple[str, ...] = ()) -> Any:
    """Registers a data set and has a worker read it; the version as it is then."""
    given = {"sha256": context.store.put(source)} if isinstance(source, bytes) else source
    taken = entered(context, given, name, labels)
    run_jobs(context, [taken])
    return datasets.find_dataset(context.engine, DEFAULT_TENANT, f"{name}@1")


def entered(
    context: Any, source: dict[str, Any], name: str = "flowers", labels: tuple[str, ...] = (), max_attempts: int = 1
) -> Any:
    """The job that reads a data set, in a worker's hands."""
    spec = DatasetSpec.model_validate({"name": name, "source": source, "labels": list(labels)})
    new = NewJob(kind=JobKind.INGEST, request=spec.model_dump(mode="json"), max_attempts=max_attempts)
    _, is_new = datasets.register(context.engine, DEFAULT_TENANT, spec, new)
    assert is_new
    [taken] = claim(context.engine, context.name, limit=1, lease_s=30.0)
    return taken
