"""Feature visualisation for a job."""

import hashlib
from functools import partial

import torch

import attribution
from attribution_contracts.baselines import SetBaseline
from attribution_contracts.figures.feature_visualization import NaturalActivations, Visualized, VisualizedUnit
from attribution_contracts.images import ImageRef
from attribution_contracts.parameters.feature_visualization import OUTPUT, FeatureVisualizationParams, Images
from workers.methods.calls import Alone, Call, Explained, Figures, MethodOutput

_OURS = frozenset({"method", "channels", "at", "compared_with"})
_TOP = 0.99


def feature_visualization(call: Call) -> Explained:
    """Adapts `attribution.feature_visualization` to a job."""
    params: FeatureVisualizationParams = call.params
    assert call.alone is not None  # noqa: S101 - the procedure of such methods gives it
    alone = call.alone
    found = attribution.feature_visualization(
        call.network,
        None if params.channels is None else [one for one in params.channels if isinstance(one, int)],
        at=None if params.at is None else (params.at[0], params.at[1]),
        mean=alone.preprocessing.mean,
        std=alone.preprocessing.std,
        images=_images(params.compared_with, alone),
        generator=partial(_generator, alone.seed, params.layer),
        progress=call.progress,
        **params.model_dump(exclude=set(_OURS), exclude_none=True),
    )
    labels = call.labels if params.layer == OUTPUT else []
    units = [
        VisualizedUnit(
            channel=channel,
            name=labels[channel] if channel < len(labels) else None,
            activation=activation,
            curve=curve,
            redrawn=redrawn,
            natural=None if found.natural is None else _natural(found.natural[:, number], activation),
        )
        for number, (channel, activation, curve, redrawn) in enumerate(
            zip(found.channels, found.activation.tolist(), found.curve.tolist(), found.redrawn.tolist(), strict=True)
        )
    ]
    outputs = [
        MethodOutput("visualization", pixels[None], layer=found.layer, unit=channel)
        for channel, pixels in zip(found.channels, found.pixels, strict=True)
    ]
    figures = Visualized(layer=found.layer, at=params.at, units=units)
    return Explained(outputs, [Figures(wire={"visualized": figures})], found.chunk_size)


def _images(chosen: Images | None, alone: Alone) -> torch.Tensor | None:
    if chosen is None:
        return None
    if isinstance(chosen, SetBaseline):
        return torch.stack([alone.fetch(ImageRef(image=digest)) for digest in alone.backgrounds[chosen.name]])
    return torch.stack([alone.fetch(image) for image in chosen.images])


def _generator(seed: int, layer: str, channel: int) -> torch.Generator:
    """Randomness from the job's seed and the unit, so that the others do not matter."""
    digest = hashlib.sha256(f"{seed}:{layer}:{channel}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _natural(values: torch.Tensor, activation: float) -> NaturalActivations:
    return NaturalActivations(
        images=len(values),
        mean=float(values.mean()),
        highest=float(values.max()),
        top=float(values.quantile(_TOP)),
        below=float((values < activation).double().mean()),
    )
