"""Activation maps for a job."""

import attribution
from attribution.networks.selection import known_layers
from attribution_contracts.figures.activation_maps import LayerActivations
from attribution_contracts.parameters.activation_maps import ActivationMapsParams
from workers.methods.calls import Call, Explained, Figures, MethodOutput
from workers.methods.layer_figures import units_of


def activation_maps(call: Call) -> Explained:
    """Adapts `attribution.activation_maps` to a job."""
    params: ActivationMapsParams = call.params
    found = attribution.activation_maps(
        call.network,
        call.inputs,
        layers=params.layers,
        n_top=params.n_top,
        channels=params.channels,
        progress=call.progress,
    )
    lattices = call.network.lattices()
    outputs = [
        MethodOutput(
            "activation",
            maps,
            layer=layer,
            lattice=lattices.get(layer),
            channels=found.channels[layer].tolist(),
        )
        for layer, maps in found.maps.items()
    ]
    figures = [Figures(wire={"activations": _layers(call, found, row)}) for row in range(len(call.rows))]
    return Explained(outputs, figures, found.chunk_size)


def _layers(call: Call, found: attribution.ActivationMaps, row: int) -> list[LayerActivations]:
    known, lattices = known_layers(call.network), call.network.lattices()
    return [
        LayerActivations(
            layer=name,
            kind=known[name].kind,
            shape=None if (shape := known[name].shape) is None else list(shape),
            units=units_of(lattices.get(name)),
            sums=sums[row].tolist(),
            shown=found.channels[name][row].tolist(),
        )
        for name, sums in found.sums.items()
    ]
