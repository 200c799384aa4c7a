"""Inversion for a job."""

import attribution
from attribution_contracts.figures.inversion import InvertedImage, InvertedStart
from attribution_contracts.parameters.inversion import InversionParams
from workers.methods.calls import Call, Explained, Figures, MethodOutput


def inversion(call: Call) -> Explained:
    """Adapts `attribution.inversion` to a job."""
    params: InversionParams = call.params
    preprocessing = call.rows[0].preprocessing
    # The gateway has made indices of names.
    channels = None if params.channels is None else [one for one in params.channels if isinstance(one, int)]
    found = attribution.inversion(
        call.network,
        call.inputs,
        channels=channels,
        mean=preprocessing.mean,
        std=preprocessing.std,
        generator=[row.generator("inversion") for row in call.rows],
        progress=call.progress,
        **params.model_dump(exclude={"method", "channels"}),
    )
    outputs = [
        MethodOutput("inversion", pixels, layer=found.layer, part=f"start-{number}")
        for number, pixels in enumerate(found.pixels.unbind(1))
    ]
    figures = [Figures(wire={"inversion": _of(found, channels, row)}) for row in range(len(call.rows))]
    return Explained(outputs, figures, found.chunk_size)


def _of(found: attribution.Inversion, channels: list[int] | None, row: int) -> InvertedImage:
    parts = zip(
        found.relative_error[row].tolist(), found.curve[row].tolist(), found.distance[row].tolist(), strict=True
    )
    starts = [InvertedStart(relative_error=error, curve=curve, distance=distance) for error, curve, distance in parts]
    return InvertedImage(layer=found.layer, channels=channels, starts=starts, spread=float(found.spread[row]))
