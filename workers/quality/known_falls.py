"""Falls of patches that were computed already: a job that compares explanations asks for the same ones for each."""

import hashlib
from collections import OrderedDict
from weakref import WeakKeyDictionary

import numpy as np
from torch import Tensor, nn

from attribution.quality.deletions import PatchFalls, patch_falls
from attribution_contracts.quality import DeletionOptions
from workers.methods.baselines import tensors_of
from workers.methods.calls import Call

KEPT_BYTES = 32 * 1024 * 1024
"""Of the falls of one network that are kept, the last ones used."""
_KNOWN: WeakKeyDictionary[nn.Module, OrderedDict[str, PatchFalls]] = WeakKeyDictionary()
"""By the network's module, for as long as the worker holds it; then by what the falls are of."""


def falls_of(call: Call, table: Tensor, options: DeletionOptions) -> PatchFalls:
    """The falls of a call's images and classes `int64 (batch, k)`, from passes or from a job before on this worker."""
    [start, *_] = tensors_of(options.baseline, call.inputs, call.rows)
    against = call.against if call.target.shape[1] else None
    kept = _KNOWN.setdefault(call.network.module, OrderedDict())
    key = _digest([call.network.output, options.patches], call.inputs, start, table, against)
    if key in kept:
        kept.move_to_end(key)
        return kept[key]
    found = patch_falls(
        call.network,
        call.inputs,
        table,
        against=against,
        grid=options.patches,
        baseline=start,
        progress=call.progress,
    )
    kept[key] = found
    while sum(one.falls.nbytes for one in kept.values()) > KEPT_BYTES:
        kept.popitem(last=False)
    return found


def _digest(words: list[object], *tensors: Tensor | None) -> str:
    told = hashlib.sha256(repr(words).encode())
    for tensor in tensors:
        told.update(b"-" if tensor is None else repr(tuple(tensor.shape)).encode())
        if tensor is not None:
            told.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
    return told.hexdigest()
