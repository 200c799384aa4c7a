"""The head that looks at a few features a class."""

import torch
from torch import nn
from torch.fx._symbolic_trace import is_fx_symbolic_tracing
from torch.nn import functional


class DecomposedHead(nn.Module):
    r"""The scores :math:`\sum_{i \in I_c} W_{ci} z_i + b_c` from gathered rows: ``n K`` multiplications, not ``d K``.

    Args:
        indices: ``(K, n)``, int64, the features of each class; -1 for none.
        weight: ``(K, n)``, the weight of each of them; of no meaning where there is none.
        bias: ``(K,)`` or nothing.
        is_spatial: Whether the features come at every position, ``(batch, d, height, width)``.

    >>> head = DecomposedHead(torch.tensor([[1], [0]]), torch.tensor([[2.0], [3.0]]), None)
    >>> head(torch.tensor([[1.0, 10.0]])).tolist()
    [[20.0, 3.0]]
    """

    indices: torch.Tensor

    def __init__(
        self, indices: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *, is_spatial: bool = False
    ) -> None:
        """Copies what it is given."""
        super().__init__()
        self.register_buffer("indices", indices.to(weight.device, copy=True))
        self.weight = nn.Parameter(weight.detach().clone().masked_fill(self.indices < 0, 0))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.is_spatial = is_spatial

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Returns the scores ``(batch, K)`` of features ``(batch, d)``; both with ``height, width`` where spatial."""
        if not self.is_spatial:
            return self._scores(features.transpose(0, 1)).transpose(0, 1)
        scores = self._scores(features.transpose(0, 1).flatten(1))
        return scores.reshape(-1, features.shape[0], features.shape[2], features.shape[3]).transpose(0, 1)

    def _scores(self, table: torch.Tensor) -> torch.Tensor:
        """Returns ``(K, m)`` for features ``(d, m)``."""
        n_classes, width = self.weight.shape
        # A row of zeros in front: index -1 finds it, so that training never finds a use for a place without a feature.
        table, rows = functional.pad(table.to(self.weight.dtype), (0, 0, 1, 0)), self.indices + 1
        if is_fx_symbolic_tracing():
            # The fused sum has no derivative of its derivative, which methods that run the graph may ask for.
            gathered = table.index_select(0, rows.flatten()).reshape(n_classes, width, -1)
            scores = torch.bmm(self.weight.unsqueeze(1), gathered).squeeze(1)
        elif table.shape[1] == 1:
            # For a single image the fused sum costs more than what it saves.
            gathered = table.flatten().index_select(0, rows.flatten()).view(n_classes, width)
            scores = (gathered * self.weight).sum(1, keepdim=True)
        else:
            # Features are added up as they are read: a tenth of the time of gathering, and no (batch, K, n).
            scores = functional.embedding_bag(rows, table.contiguous(), per_sample_weights=self.weight, mode="sum")
        return scores if self.bias is None else scores + self.bias.unsqueeze(1)
