"""DeepLIFT's rescale rule for every layer in one backward pass."""

from collections.abc import Mapping

import torch

from attribution.layerwise.passes import GradientHooks, Receive
from attribution.layerwise.totals import LayerTotals, Piece
from attribution.networks.layers import Layer, has_rows
from attribution.networks.network import Network
from attribution.passes.chunks import Chunks
from attribution.passes.gradients import laid_out
from attribution.paths.straight import Paths
from attribution.propagation.rescale import rescaled_values
from attribution.targets import Targets


def rescale_totals(
    network: Network, paths: Paths, layers: Mapping[str, Layer], chunks: Chunks, totals: LayerTotals
) -> None:
    """Adds multipliers times differences of every layer to ``totals``, averaged over the baselines.

    Cost:
        For each path about three forward passes and k backward passes of one point, whose activations and those of
        its baseline are held.
    """

    def work(start: int, stop: int) -> None:
        pairs = torch.arange(start, stop, device=paths.inputs.device)
        pieces: list[Piece] = []

        def receive(layer: str, number: int, change: torch.Tensor, multipliers: torch.Tensor) -> None:
            wide = torch.promote_types(change.dtype, torch.float32)
            for pair, product in zip(pairs.tolist(), change.to(wide) * multipliers.to(wide), strict=True):
                image = pair // paths.n_baselines
                pieces.append(totals.piece(layer, image, number, product, paths.n_baselines))

        points, references = paths.inputs[pairs // paths.n_baselines], paths.starts(pairs)
        shapes = _run(network, points, references, paths.targets(pairs), layers, receive)
        totals.add(pieces)
        totals.expect(shapes, points)

    chunks.run(paths.n_paths, work)


def _run(
    network: Network,
    points: torch.Tensor,
    references: torch.Tensor,
    target: Targets,
    layers: Mapping[str, Layer],
    receive: Receive,
) -> dict[str, torch.Size]:
    """Hands on the change of each layer between references and points with its multipliers.

    Returns:
        The shape of each layer's values.
    """
    hooks = GradientHooks(receive, target.k)
    with torch.enable_grad():
        points = laid_out(points).requires_grad_()
        logits, values, before = rescaled_values(network, points, laid_out(references), layers)
        changes = {
            name: value.detach() - before[name]
            for name, value in values.items()
            if has_rows(value, len(points), layers[name].shape)
        }
        for name in changes:
            hooks.put(name, values[name])
        shapes = {name: change.shape for name, change in changes.items()}
        del values, before
        hooks.backward(target.of(logits), points, changes)
    return shapes
