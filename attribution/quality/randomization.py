"""Whether a map depends on what the network has learnt: the same map once its weights are drawn anew."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from attribution.checks import require_count, require_images
from attribution.errors import InvalidOption, NetworkError
from attribution.networks.network import Network
from attribution.quality.deletions import rank_correlation


def weighted_modules(network: Network) -> tuple[str, ...]:
    """Returns the names of the modules that have weights of their own, in the order of their registration."""
    return tuple(name for name, module in network.module.named_modules() if _own(module))


def randomized(network: Network, input_shape: Sequence[int], *, seed: int, share: float = 1.0) -> Network:
    """Returns a copy of a network whose last weights, or all, are drawn anew; the network stays as it is.

    A module draws them as torch does when it is made (``reset_parameters``, which also forgets what batch normalisation
    has seen); weights of a module that cannot are drawn from a normal distribution with their mean and standard
    deviation.

    Args:
        network: What was explained.
        input_shape: ``(channels, height, width)`` of its inputs.
        seed: Of the draws; torch's own random state stays as it was.
        share: Of the modules with weights, from the last one registered: those next to the output.

    Returns:
        The copy, with the same output and link. Nothing is measured of it but that it is copied right.

    Raises:
        NetworkError: The network is known by its outputs alone, or has no weights.
        InvalidOption: A share outside (0, 1].

    Cost:
        A copy of the weights; some 10 forward passes of one image.

    Source:
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt & Kim 2018, "Sanity Checks for Saliency Maps" (arXiv 1810.03292),
        section 3.

    >>> network = Network(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), (1, 4, 4))
    >>> other = randomized(network, (1, 4, 4), seed=1)
    >>> torch.equal(other.module[0].weight, network.module[0].weight)
    False
    """
    if not 0 < share <= 1:
        raise InvalidOption(f"share is {share}, expected more than 0 and at most 1")
    names = weighted_modules(network)
    if not names:
        raise NetworkError("the network has no weights to draw anew")
    count = max(1, round(share * len(names)))
    module = copy.deepcopy(network.module)
    devices = [network.device] if network.device is not None and network.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(seed)
        for name in names[len(names) - count :]:
            _draw(module.get_submodule(name))
    return Network(module, input_shape, output=network.output, link=network.link, checks=network.report().checks)


def map_entropy(maps: torch.Tensor, *, bins: int = 100) -> torch.Tensor:
    r"""Returns how evenly the values of maps are spread over their range, ``(batch,)``, float64, in nats.

    .. math:: H = -\sum_b p_b \log p_b

    with :math:`p_b` the share of the pixels whose sum over the channels falls into bin b of equal width between the
    map's smallest and largest value; 0 of a flat map.

    Args:
        maps: ``(batch, channels, height, width)``.
        bins: Of the histogram.

    Raises:
        InvalidInput: No maps, or such as are not finite.
        InvalidOption: Fewer than 2 bins.

    >>> map_entropy(torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]])).item()
    0.6931471805599453
    """  # noqa: DOC502 - the checks that it calls raise them
    require_images(maps, "maps", None, None)
    require_count(bins, "bins", 2)
    planes = maps.detach().sum(1, dtype=torch.float64).flatten(1)
    least, most = planes.aminmax(dim=1, keepdim=True)
    width = (most - least).masked_fill(most == least, 1.0)
    places = ((planes - least) / width * bins).long().clamp(max=bins - 1)
    counts = planes.new_zeros(len(planes), bins).scatter_add_(1, places, torch.ones_like(planes))
    entropy: torch.Tensor = torch.special.entr(counts / planes.shape[1]).sum(1)
    return entropy


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
        Hedstroem, Weber, Bareeva, Motzkus, Samek, Lapuschkin & Hoehne 2024, "Sanity Checks Revisited" (arXiv
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

    NaN where one of them is flat. Rank correlations of pixels are those of ranks; large maps are compared at 32 x 32
    means, for pairs of pixels are counted.
    """
    own, theirs = (_coarse(one) for one in (maps, others))
    return rank_correlation(own, theirs)


_SIDE = 32


def _coarse(maps: torch.Tensor) -> torch.Tensor:
    planes = maps.detach().sum(1, dtype=torch.float64)
    height, width = (min(side, _SIDE) for side in planes.shape[1:])
    return nn.functional.adaptive_avg_pool2d(planes.unsqueeze(1), (height, width))[:, 0]


def _own(module: nn.Module) -> list[nn.Parameter]:
    return list(module.parameters(recurse=False))


def _draw(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    for parameter in _own(module):
        spread = float(parameter.std()) if parameter.numel() > 1 else 0.0
        parameter.normal_(float(parameter.mean()), spread or 1.0)
