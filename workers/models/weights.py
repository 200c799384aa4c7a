"""Weights files: compared with the architecture before a tensor is read, and never executed."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from attribution_contracts.base import Sha256
from attribution_contracts.weights_files import HEAD_BYTES, why_no_safetensors
from workers.problems import InvalidModel

MAX_BYTES = 4 * 1024**3
SHOWN = 20

FLOATING = frozenset({"F16", "BF16", "F32", "F64"})
INTEGER = frozenset({"I64", "I32", "I16", "I8", "U8", "BOOL"})


class Tensor(NamedTuple):
    """What a header, or an architecture, says of one tensor."""

    dtype: str
    shape: tuple[int, ...]


def load_into(module: nn.Module, path: Path, *, sha256: Sha256 | None = None, max_bytes: int = MAX_BYTES) -> list[str]:
    """Gives the module the weights of a safetensors file, as float32.

    A prefix that all names of the file share (`module.` of `DataParallel`, `_orig_mod.` of `torch.compile`, `model.` of
    a training framework) is taken off where the rest fits; a tensor that the module uses under several names may come
    under any of them.

    Returns:
        What was taken that is not quite what the architecture has, in words.

    Raises:
        InvalidModel: The file is not what it should be; the module is then as it was.
    """
    prefix = require_matching(path, module, max_bytes=max_bytes)
    if sha256 is not None:
        require_digest(path, sha256)
    found, shared = _read(path, module, prefix), _shared_names(module)
    taken = [f"the prefix {prefix!r} of all names in the weights file was taken off"] if prefix else []
    missing = {name: next(iter(shared[name] & found.keys())) for name in shared if name not in found}
    _require_alike(found, shared)
    if missing:
        taken.append(f"tensors that the network shares came once: {_listed(missing)}")
    module.load_state_dict(found | {name: found[twin] for name, twin in missing.items()}, strict=False, assign=True)
    return taken


def require_matching(path: Path, module: nn.Module, *, max_bytes: int = MAX_BYTES) -> str:
    """Compares the header of a safetensors file with the parameters and buffers of a module, which may be on `meta`.

    Returns:
        What all names in the file begin with, that the module's do not.

    Raises:
        InvalidModel: The file is too large, of another format or broken, or its tensors are not the module's.
    """
    _require_format(path, max_bytes)
    expected = {name: _described(value) for name, value in module.state_dict().items()}
    with _opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        found = {name: Tensor(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    shared = _shared_names(module)
    differences: list[str] = []
    for prefix in _prefixes(found):
        bare = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
        given = bare | {name: expected[name] for name in shared if shared[name] & bare.keys()}
        fewer = list(_differences(expected, given | bare))
        if not fewer:
            return prefix
        differences = differences or fewer
    raise InvalidModel(f"the weights are not those of the architecture: {'; '.join(differences)}")


def _prefixes(names: Iterable[str]) -> Iterator[str]:
    """Nothing, and then every prefix of whole steps that all names share."""
    yield ""
    steps = [name.split(".")[:-1] for name in names]
    for count in range(1, min(map(len, steps), default=0) + 1):
        if len({tuple(one[:count]) for one in steps}) > 1:
            return
        yield ".".join(steps[0][:count]) + "."


def _shared_names(module: nn.Module) -> dict[str, set[str]]:
    """For each name of a tensor that a module has under several names, all of them."""
    by_tensor: dict[int, set[str]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        by_tensor.setdefault(id(tensor), set()).add(name)
    return {name: names for names in by_tensor.values() if len(names) > 1 for name in names}


def _require_alike(found: Mapping[str, torch.Tensor], shared: Mapping[str, set[str]]) -> None:
    """Refuses different values for a tensor that the network has but once."""
    for names in shared.values():
        first, *others = sorted(names & found.keys())
        for other in others:
            if not torch.equal(found[first], found[other]):
                raise InvalidModel(
                    f"the architecture uses one tensor as {first} and {other}, but the weights file has different"
                    " values for them: is it of another architecture?"
                )


def _listed(missing: Mapping[str, str]) -> str:
    names = [f"{name} is {twin}" for name, twin in sorted(missing.items())]
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _require_format(path: Path, max_bytes: int) -> None:
    size = path.stat().st_size
    if size > max_bytes:
        raise InvalidModel(f"the weights file has {size:,} bytes, at most {max_bytes:,} are allowed")
    with path.open("rb") as file:
        wrong = why_no_safetensors(file.read(HEAD_BYTES))
    if wrong is not None:
        raise InvalidModel(wrong)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file after safetensors has checked its header: length, JSON, types, offsets in range and without overlap."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise InvalidModel(f"the weights file is not valid safetensors, or truncated: {error}") from error


def require_digest(path: Path, sha256: Sha256) -> None:
    """Refuses a file that is another one.

    Raises:
        InvalidModel: It is.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise InvalidModel(
            f"the weights file has the sha256 {found}, expected {sha256}: send or configure the right file"
        )


def _described(value: torch.Tensor) -> Tensor:
    return Tensor("F32" if value.is_floating_point() else "I64", tuple(value.shape))


def _differences(expected: dict[str, Tensor], found: dict[str, Tensor]) -> Iterator[str]:
    """Every way in which the two differ, each in a phrase."""
    common = sorted(expected.keys() & found.keys())
    # BatchNorm's counter has no part in evaluation, and many tools leave it out.
    yield from _phrase("missing", (n for n in expected.keys() - found.keys() if not n.endswith("num_batches_tracked")))
    yield from _phrase("unexpected", found.keys() - expected.keys())
    yield from _phrase(
        "of another shape",
        (
            f"{n} {list(found[n].shape)}, expected {list(expected[n].shape)}"
            for n in common
            if found[n].shape != expected[n].shape
        ),
    )
    yield from _phrase(
        "of an unusable type",
        (f"{n} {found[n].dtype}" for n in common if found[n].dtype not in _accepted(expected[n])),
    )


def _accepted(expected: Tensor) -> frozenset[str]:
    return FLOATING if expected.dtype in FLOATING else INTEGER


def _phrase(kind: str, items: Iterable[str]) -> Iterator[str]:
    ordered = sorted(items)
    if ordered:
        more = f", and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
        yield f"{len(ordered)} {kind} ({', '.join(ordered[:SHOWN])}{more})"


def _read(path: Path, module: nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    expected = module.state_dict()
    with _opened(path) as file:
        # The copy leaves the memory map of the file behind.
        return {
            name: _finite(name, file.get_tensor(prefix + name).to(expected[name].dtype, copy=True))
            for name in (given.removeprefix(prefix) for given in file.keys())  # noqa: SIM118 - not a dictionary
        }


def _finite(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if not torch.isfinite(tensor).all():
        count = int((~torch.isfinite(tensor)).sum())
        raise InvalidModel(
            f"the weights have {count} values in {name} that are NaN or infinite: expected finite numbers"
        )
    return tensor
