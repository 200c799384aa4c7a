"""How often each feature is among the largest of an image, class by class."""

from collections.abc import Sequence

import torch
from safetensors.torch import save

from attribution.checks import require_count, require_labels
from attribution.errors import InvalidInput, InvalidOption
from attribution.stored import loaded


class FeatureHistogram:
    """Counts a class and feature, for several ``n_initial`` at once; merging two is addition.

    Of each image the ``n_initial`` features of largest absolute value are counted for its class; of equal values the
    lower index comes first. Counts are integers, so merging is exact in any order; the sums of absolute values are
    float64 and agree in any order to rounding (relative 1e-15 times the number of images).

    Args:
        n_classes: Classes ``K``.
        n_features: Features ``d``.
        n_initial: Sizes to count for, each 1 to ``n_features``.
        device: Where to count.

    Attributes:
        counts: ``(sizes, K, d)``, int64.
        images: ``(K,)``, int64, images seen.
        sums: ``(K, d)``, float64, of the absolute values.

    >>> histogram = FeatureHistogram(2, 3, n_initial=(1, 2))
    >>> histogram.update(torch.tensor([[0.0, -3.0, 1.0], [5.0, 1.0, 1.0]]), torch.tensor([0, 1]))
    >>> histogram.counts.tolist()
    [[[0, 1, 0], [1, 0, 0]], [[0, 1, 1], [1, 1, 0]]]
    """

    def __init__(
        self, n_classes: int, n_features: int, n_initial: Sequence[int] = (5,), device: torch.device | None = None
    ) -> None:
        """Starts with no images.

        Raises:
            InvalidOption: A size out of range.
        """
        self.n_initial = tuple(dict.fromkeys(n_initial))
        if not self.n_initial:
            raise InvalidOption("n_initial is empty, expected one size or several")
        for size in self.n_initial:
            require_count(size, "n_initial", maximum=n_features)
        self.counts = torch.zeros(len(self.n_initial), n_classes, n_features, dtype=torch.int64, device=device)
        self.images = torch.zeros(n_classes, dtype=torch.int64, device=device)
        self.sums = torch.zeros(n_classes, n_features, dtype=torch.float64, device=device)

    def update(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Counts images.

        Args:
            features: ``(n, d)``.
            labels: Class of each, int64 ``(n,)``.

        Raises:
            InvalidInput: Features of another shape.
            InvalidTarget: A label that is no class.
        """  # noqa: DOC502 - the check of the labels raises it
        n_classes, n_features = self.sums.shape
        if features.dim() != 2 or features.shape[1] != n_features:
            raise InvalidInput(f"features has shape {tuple(features.shape)}, expected (n, {n_features})")
        require_labels(labels, len(features), n_classes)
        values = features.detach().abs()
        largest = values.sort(dim=1, descending=True, stable=True).indices[:, : max(self.n_initial)]
        places = labels.unsqueeze(1) * n_features + largest
        for counts, size in zip(self.counts, self.n_initial, strict=True):
            chosen = places[:, :size].flatten()
            counts.view(-1).scatter_add_(0, chosen, torch.ones_like(chosen))
        self.images.scatter_add_(0, labels, torch.ones_like(labels))
        self.sums.index_add_(0, labels, values.double())

    def merge(self, other: "FeatureHistogram") -> "FeatureHistogram":
        """Returns the histogram of the images of both.

        Raises:
            InvalidInput: They count other things.
        """
        if (self.n_initial, self.sums.shape) != (other.n_initial, other.sums.shape):
            raise InvalidInput(
                f"cannot merge a histogram of n_initial {self.n_initial} and {tuple(self.sums.shape)} classes and"
                f" features with one of {other.n_initial} and {tuple(other.sums.shape)}; fit both with the same options"
            )
        n_classes, n_features = self.sums.shape
        merged = FeatureHistogram(n_classes, n_features, self.n_initial, self.sums.device)
        merged.counts = self.counts + other.counts.to(self.counts.device)
        merged.images = self.images + other.images.to(self.images.device)
        merged.sums = self.sums + other.sums.to(self.sums.device)
        return merged

    def frequencies(self, n_initial: int) -> torch.Tensor:
        """Returns the counts ``(K, d)`` for one size.

        Raises:
            InvalidOption: It was not counted for.
        """
        if n_initial not in self.n_initial:
            counted = ", ".join(map(str, self.n_initial))
            raise InvalidOption(f"n_initial is {n_initial!r}, this histogram was counted for {counted}; fit it again")
        return self.counts[self.n_initial.index(n_initial)]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Returns the state by name, on the CPU."""
        state = {"counts": self.counts, "images": self.images, "sums": self.sums}
        stored = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
        return stored | {"n_initial": torch.tensor(self.n_initial)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor]) -> "FeatureHistogram":
        """Returns the histogram whose state this is.

        Raises:
            InvalidInput: It is none.
        """
        required = {"n_initial": torch.int64, "counts": torch.int64, "images": torch.int64, "sums": torch.float64}
        found = {name: tensor.dtype for name, tensor in tensors.items() if name in required}
        if found != required or tensors["sums"].dim() != 2:
            raise InvalidInput(
                f"a histogram holds {', '.join(required)}, given {', '.join(sorted(tensors)) or 'nothing'} of other"
                " names, types or shapes; store it with to_bytes()"
            )
        n_classes, n_features = tensors["sums"].shape
        own = cls(n_classes, n_features, tensors["n_initial"].tolist())
        for name, expected in own.tensors().items():
            if expected.shape != tensors[name].shape:
                raise InvalidInput(f"{name} has shape {tuple(tensors[name].shape)}, expected {tuple(expected.shape)}")
        own.counts, own.images, own.sums = (tensors[name].clone() for name in ("counts", "images", "sums"))
        return own

    def to_bytes(self) -> bytes:
        """Returns the state as a safetensors file."""
        stored: bytes = save(self.tensors())
        return stored

    @classmethod
    def from_bytes(cls, stored: bytes) -> "FeatureHistogram":
        """Returns the histogram that ``to_bytes`` stored."""
        return cls.from_tensors(loaded(stored))
