"""One decision, taken apart by the influential features of the classes."""

from typing import NamedTuple

import torch

from attribution.decomposition.classifiers import decomposed_head
from attribution.decomposition.influential import Influential, membership
from attribution.final_layer.last_maps import FeatureMaps, mean_maps
from attribution.final_layer.layer import FinalLayer
from attribution.networks.network import Network, require_network
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk, laid_out
from attribution.targets import Targets, require_classes, targets_of


class Decomposition(NamedTuple):
    """Mean feature maps ``(batch, k, height, width)`` at their own resolution, and each feature's contribution.

    For a target ``(batch,)`` the axis ``k`` is missing everywhere. Features are in falling order of contribution;
    places without a feature are -1, and NaN for numbers.

    Attributes:
        influential: Mean map of the class's influential features; nothing where ``maps_missing`` says why.
        others: Mean map of all other features.
        everything: Mean map of all features.
        contributions: ``(batch, k, n)``, float64, ``W_ci z_i`` of the influential features, in units of the logit.
        features: ``(batch, k, n)``, int64, their indices.
        values: ``(batch, k, n)``, float64, their values ``z_i``.
        places: ``(batch, k, n)``, int64, their places in the class's histogram; 1 is the most frequent.
        frequencies: ``(batch, k, n)``, float64, in what share of the class's images each was among the largest.
        logits: ``(batch, k)``, float64, of the full network.
        decomposed_logits: ``(batch, k)``, float64, by the influential features alone.
        convergence_delta: ``(batch, k)``, float64: contributions and bias minus the decomposed logit; rounding, unless
            something follows the final layer, as in SqueezeNet.
        maps_missing: Why there are no maps.
        maps_layer: Name of the layer whose maps they are; ``input`` is the image.
        chunk_size: Images evaluated at once, after any halving.
    """

    influential: torch.Tensor | None
    others: torch.Tensor | None
    everything: torch.Tensor | None
    contributions: torch.Tensor
    features: torch.Tensor
    values: torch.Tensor
    places: torch.Tensor
    frequencies: torch.Tensor
    logits: torch.Tensor
    decomposed_logits: torch.Tensor
    convergence_delta: torch.Tensor
    maps_missing: str | None
    maps_layer: str | None
    chunk_size: int


def decomposition(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    influential: Influential,
    *,
    against: torch.Tensor | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Decomposition:
    r"""Shows what the influential features of a class see in an image, and what each adds to its logit.

    .. math:: M_c = \frac{1}{|I_c|} \sum_{i \in I_c} a_i, \qquad \mathrm{contribution}_{ci} = W_{ci} z_i,

    with :math:`a_i` the map of the last convolution that feature :math:`z_i` is pooled from; beside it the same mean
    over all other features and over all of them.

    Args:
        network: The classifier that the features were found for.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)``, or ``(batch, k)``.
        against: What each class is held against, a class, int64 like ``target``, or weights over the classes, float
            ``(batch, classes)`` or ``(batch, k, classes)``; contributions, logits and decomposed logits are then
            differences, still of the features and maps of the class itself.
        influential: The classes' features, from ``influential_features``.
        chunk_size: Images at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with images done and in all; may raise to cancel.

    Returns:
        Maps, contributions and both logits.

    Raises:
        NetworkError: There is no final layer to decompose.
        InvalidInput: Images or indices that do not fit the network.
        InvalidTarget: Not one row of existing classes an image.
        OutOfMemory: A single image does not fit into memory.

    Cost:
        One forward pass, whatever the number of classes.

    Guarantee:
        Exact: the maps weighted by how many features they hold add up to that of all features, the contributions and
        the bias to the decomposed logit up to ``convergence_delta``. That a map shows where a class is seen is a
        heuristic: it is the network's own, of a few pixels a side.

    Source:
        "Decomposing the Deep: Finding Class Specific Filters in Deep CNNs", sections 5.2.3 to 5.2.5.

    >>> import attribution
    >>> head = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False)]
    >>> _ = head[2].weight.data.copy_(torch.tensor([[1.0, 10.0], [100.0, 1000.0]]))
    >>> network, images = Network(torch.nn.Sequential(*head)), torch.tensor([[[[2.0, 4.0]], [[1.0, 1.0]]]])
    >>> found = attribution.influential_features(network, [(images, torch.tensor([0]))], n_initial=1, n_features=1)
    >>> result = decomposition(network, images, torch.tensor([0]), found)
    >>> result.influential.tolist(), result.contributions.tolist(), result.logits.tolist()
    ([[[2.0, 4.0]]], [[3.0]], [13.0])
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    final = FinalLayer(network)
    require_classes(targets, final.n_classes)
    reader, parts = _Reader(final, influential), list[dict[str, torch.Tensor]]()
    chunks = Chunks(default_chunk(network, inputs) if chunk_size is None else chunk_size, len(inputs), progress)
    chunks.run(
        len(inputs), lambda start, stop: parts.append(reader.read(inputs[start:stop], targets.rows(slice(start, stop))))
    )
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    if target.dim() == 1:
        found = {name: values[:, 0] for name, values in found.items()}
    return Decomposition(
        influential=found.get("influential"),
        others=found.get("others"),
        everything=found.get("everything"),
        contributions=found["contributions"],
        features=found["features"],
        values=found["values"],
        places=found["places"],
        frequencies=found["frequencies"],
        logits=found["logits"],
        decomposed_logits=found["decomposed_logits"],
        convergence_delta=found["convergence_delta"],
        maps_missing=reader.maps.reason,
        maps_layer=reader.maps.layer,
        chunk_size=chunks.size,
    )


class _Reader:
    """Reads everything about some images and classes from one forward pass."""

    def __init__(self, final: FinalLayer, influential: Influential) -> None:
        device = final.weight.device
        self._final, self.maps = final, FeatureMaps(final)
        self._indices = influential.indices.to(device)
        self._members = membership(self._indices, final.n_features)
        self._head = decomposed_head(final, self._indices)
        histogram = influential.histogram.to(device)
        order = histogram.sort(dim=1, descending=True, stable=True).indices
        self._places = order.argsort(dim=1) + 1
        self._frequencies = histogram / influential.images.to(device).clamp(min=1).unsqueeze(1).double()

    def read(self, inputs: torch.Tensor, targets: Targets) -> dict[str, torch.Tensor]:
        """Returns the fields of the result by name, ``(n, k, ...)``."""
        maps, features, logits = self.maps.run(laid_out(inputs))
        decomposed = self._decomposed(features, targets).double()
        found = self._ranked(self._final.pooled(features).double(), targets)
        sums = found["contributions"].nansum(2)
        if (bias := self._final.bias) is not None:
            sums = sums + targets.of_each(bias.double().__getitem__)
        found |= {"logits": targets.of(logits).double(), "decomposed_logits": decomposed}
        return found | {"convergence_delta": sums - decomposed} | ({} if maps is None else self._means(maps, targets))

    def _decomposed(self, features: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Returns what is explained ``(n, k)``, by the features of each class alone."""
        if targets.against is None:
            return targets.of(self._final.logits(features, self._head))
        # Other classes are seen through the features of the class that is held against them.
        kept = self._members[targets.classes].view(len(features), targets.k, -1, *[1] * (features.dim() - 2))
        found = [targets.of(self._final.logits(features * own)) for own in kept.unbind(1)]
        return torch.stack([numbers[:, place] for place, numbers in enumerate(found)], dim=1)

    def _means(self, maps: torch.Tensor, targets: Targets) -> dict[str, torch.Tensor]:
        own = self._members[targets.classes]
        chosen = {"influential": own, "others": ~own, "everything": torch.ones_like(own)}
        return {name: mean_maps(maps, rows) for name, rows in chosen.items()}

    def _ranked(self, values: torch.Tensor, targets: Targets) -> dict[str, torch.Tensor]:
        """Returns the influential features' numbers, the largest contribution first."""
        classes = targets.classes
        indices = self._indices[classes]
        known, safe = indices >= 0, indices.clamp(min=0)
        weight = targets.of_each(lambda given: self._final.weight[given.unsqueeze(2), safe].double())
        own = values.unsqueeze(1).expand(-1, targets.k, -1).gather(2, safe)
        contributions = torch.where(known, weight * own, -torch.inf)
        order = contributions.argsort(dim=2, descending=True, stable=True)
        table = {
            "contributions": contributions.masked_fill(~known, torch.nan),
            "features": indices,
            "values": own.masked_fill(~known, torch.nan),
            "places": self._places[classes].gather(2, safe).masked_fill(~known, -1),
            "frequencies": self._frequencies[classes].gather(2, safe).masked_fill(~known, torch.nan),
        }
        return {name: rows.gather(2, order) for name, rows in table.items()}
