"""First-layer filters for a job."""

import attribution
from attribution_contracts.figures.first_layer_filters import Filters
from workers.methods.calls import Call, Explained, Figures, MethodOutput


def first_layer_filters(call: Call) -> Explained:
    """Adapts `attribution.first_layer_filters` to a job."""
    found = attribution.first_layer_filters(call.network, progress=call.progress)
    _, channels, height, width = found.filters.shape
    figures = Filters(
        layer=found.layer,
        kernel=(height, width),
        stride=found.stride,
        channels=channels,
        norms=found.norms.tolist(),
    )
    # All filters are one file: its first axis is the layer's channel.
    output = MethodOutput("filters", found.filters[None], layer=found.layer)
    return Explained([output], [Figures(wire={"filters": figures})], chunk_size=1)
