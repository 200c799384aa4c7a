"""Each method is tried once on a model, so that whether it applies is seen and not deduced."""

import hashlib
import logging
from collections.abc import Callable, Collection

import torch
from PIL import Image

import attribution
from attribution import Network
from attribution.errors import AttributionError
from attribution_contracts.images import ImageRef
from attribution_contracts.jobs import InputImage
from attribution_contracts.models import ModelSpec
from workers.images.preprocessing import View
from workers.methods.baselines import Row
from workers.methods.calls import Alone, Call
from workers.methods.table import METHODS
from workers.problems import WorkProblem

log = logging.getLogger(__name__)

_NO_FIT = "0" * 64


def tried(network: Network, spec: ModelSpec, disabled: Collection[str] = ()) -> dict[str, str | None]:
    """Why each method does not apply, or nothing: what the engine knows, and what a small call of it shows.

    Args:
        network: One that has met its images.
        spec: Of the model, for baselines in its units.
        disabled: Methods that are not tried.
    """
    found = attribution.applicable_methods(network)
    examples = network.examples()[:2]
    for method, reason in found.items():
        if reason is None and method not in disabled:
            found[method] = _failure(method, network, spec, examples)
    return found


def _failure(method: str, network: Network, spec: ModelSpec, examples: torch.Tensor) -> str | None:
    try:
        METHODS[method].run(_call(method, network, spec, examples))
    except (AttributionError, WorkProblem) as error:
        return str(error)
    except Exception as error:  # a method that fails on a network must not cost the network its others
        log.exception("%s fails on model %s@%s", method, spec.name, spec.version)
        return f"it fails on this network ({type(error).__name__}: {str(error)[:200]})"
    return None


def _call(method: str, network: Network, spec: ModelSpec, examples: torch.Tensor) -> Call:
    row = METHODS[method]
    required = {"fit": _NO_FIT} if "fit" in row.params.model_fields else {}
    trial = row.trial(examples.shape[1:]) if callable(row.trial) else row.trial
    params = row.params.model_validate({"method": method, **required, **trial})
    target = torch.zeros(len(examples), 1 if row.params.class_field() == "target" else 0, dtype=torch.int64)
    is_alone = row.params.takes == "none"
    return Call(
        network=network,
        rows=[] if is_alone else [_row(position, one, spec) for position, one in enumerate(examples)],
        inputs=examples[:0] if is_alone else examples,
        target=target[:0].to(examples.device) if is_alone else target.to(examples.device),
        params=params,
        progress=lambda _done, _total: None,
        kept_bytes=2**62,
        artifact=_fit_on(network, examples),
        alone=Alone(0, spec.preprocessing, {}, lambda _: examples[0]) if is_alone else None,
    )


def _fit_on(network: Network, examples: torch.Tensor) -> Callable[[str], bytes]:
    """What stands for a fitted decomposition: one of the examples."""

    def fit(_: str) -> bytes:
        labels = torch.zeros(len(examples), dtype=torch.int64, device=examples.device)
        return attribution.influential_features(network, [(examples, labels)], n_initial=1, n_features=1).to_bytes()

    return fit


def _row(position: int, inputs: torch.Tensor, spec: ModelSpec) -> Row:
    digest = hashlib.sha256(str(position).encode()).hexdigest()

    def fetch(_: ImageRef) -> torch.Tensor:
        return inputs

    return Row(
        position=position,
        given=InputImage(image=digest),
        sha256=digest,
        inputs=inputs,
        displayed=Image.new("RGB", (inputs.shape[2], inputs.shape[1])),
        view=View.whole(*inputs.shape[1:]),
        target=None,
        preprocessing=spec.preprocessing,
        seed=0,
        backgrounds={},
        fetch=fetch,
    )
