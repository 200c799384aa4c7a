"""Whether a map depends on what the network has learnt: what becomes of it once the weights are drawn anew."""

import torch

from attribution.checks import require_count
from attribution.errors import InvalidInput
from attribution.quality.ranks import spearman


def map_entropy(maps: torch.Tensor, *, bins: int = 100) -> torch.Tensor:
    r"""Returns how evenly the values of maps are spread over their range, ``(batch,)``, float64, in nats.

    .. math:: H = -\sum_b p_b \log p_b

    with :math:`p_b` the share of the pixels whose sum over the channels falls into bin b of equal width between the
    map's smallest and largest value; 0 of a flat map, NaN of one that is not finite.

    Args:
        maps: ``(batch, channels, height, width)``.
        bins: Of the histogram.

    Raises:
        InvalidOption: Fewer than 2 bins.

    >>> map_entropy(torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]])).item()
    0.6931471805599453
    """  # noqa: DOC502 - the checks that it calls raise them
    require_count(bins, "bins", 2)
    planes = maps.detach().sum(1, dtype=torch.float64).flatten(1)
    is_finite = planes.isfinite().all(1)
    planes = planes.masked_fill(~is_finite.unsqueeze(1), 0.0)
    least, most = planes.aminmax(dim=1, keepdim=True)
    width = (most - least).masked_fill(most == least, 1.0)
    places = ((planes - least) / width * bins).long().clamp(max=bins - 1)
    counts = planes.new_zeros(len(planes), bins).scatter_add_(1, places, torch.ones_like(planes))
    entropy: torch.Tensor = torch.special.entr(counts / planes.shape[1]).sum(1)
    return entropy.masked_fill(~is_finite, torch.nan)


def entropy_rise(maps: torch.Tensor, random: torch.Tensor, *, bins: int = 100) -> torch.Tensor:
    r"""Returns by how much the entropy of maps rises once the network is random, ``(batch,)``, as a share.

    .. math:: \frac{H(a_{\mathrm{random}}) - H(a)}{H(a)}

    A method that shows what was learnt has less to say of a random network: its map becomes more even, and the figure
    is positive. NaN where the map is flat.

    Args:
        maps: ``(batch, channels, height, width)``, of the network.
        random: The same of a random copy.
        bins: Of the histograms.

    Source:
        Hedstroem, Weber, Lapuschkin & Hoehne 2024, "A Fresh Look at Sanity Checks for Saliency Maps" (arXiv
        2405.02383), efficient MPRT.

    >>> flat, even = torch.tensor([[[[0.0, 0.0, 0.0, 1.0]]]]), torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]])
    >>> round(entropy_rise(flat, even).item(), 3)
    0.233
    """
    before = map_entropy(maps, bins=bins)
    rise: torch.Tensor = (map_entropy(random, bins=bins) - before) / before
    return rise


def map_correlation(maps: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Returns Spearman's rank correlation of the pixels of maps and others, ``(batch,)``, of sums over the channels.

    NaN where one of them is flat or not finite.

    Args:
        maps: ``(batch, channels, height, width)``.
        others: The same shape.

    Raises:
        InvalidInput: Shapes differ.

    Source:
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt & Kim 2018, "Sanity Checks for Saliency Maps" (arXiv 1810.03292),
        section 3.
    """
    if maps.shape != others.shape:
        raise InvalidInput(f"maps {tuple(maps.shape)} and others {tuple(others.shape)}, expected the same shape")
    own, theirs = (one.detach().sum(1, dtype=torch.float64).flatten(1) for one in (maps, others))
    is_finite = own.isfinite().all(1) & theirs.isfinite().all(1)
    return spearman(own, theirs).masked_fill(~is_finite, torch.nan)
