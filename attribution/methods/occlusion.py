"""Occlusion: what an output loses when a part of the image is hidden."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from attribution.checks import require_count, require_finite
from attribution.layerwise.channels import FeatureMap, require_feature_maps
from attribution.networks.network import Network, require_network
from attribution.passes.chunks import Chunks, Progress
from attribution.paths.straight import stacked_baselines
from attribution.perturbation.passes import Hidden, WindowPasses
from attribution.perturbation.windows import Windows, windows_of
from attribution.targets import Targets, require_classes, targets_of

_ROUNDING = 64
"""Units in the last place of the largest output that sums in another order may be apart."""


class Changes(NamedTuple):
    """What some numbers of each image lose by each window.

    Attributes:
        maps: ``(batch, k, 1, height, width)``, at each pixel the mean change of the windows that cover it.
        changes: ``(batch, k, rows, columns)``, the number with nothing hidden less that with the window hidden.
        percentages: The same in percent of the size of the number with nothing hidden; NaN where that is 0.
        numbers: ``(batch, k)``, with nothing hidden.
    """

    maps: torch.Tensor
    changes: torch.Tensor
    percentages: torch.Tensor
    numbers: torch.Tensor


class Rises(NamedTuple):
    """The classes that rise most where a part is hidden, each by the window that raises it most, in falling order.

    Attributes:
        classes: ``(batch, n)`` int64; -1 where fewer rise.
        windows: ``(batch, n)`` int64, numbers of the windows, row by row; -1 as well.
        rises: ``(batch, n)``, in units of the output; 0 there.
    """

    classes: torch.Tensor
    windows: torch.Tensor
    rises: torch.Tensor


class Occlusion(NamedTuple):
    """What classes and feature maps lose by windows, signed: positive where the hidden part speaks for them.

    For a target ``(batch,)`` the axis ``k`` is missing in the first four.

    Attributes:
        maps: ``(batch, k, 1, height, width)``, at each pixel the mean change of the windows that cover it.
        changes: ``(batch, k, rows, columns)``, the output with nothing hidden less that with the window hidden.
        percentages: The same in percent of the size of the output with nothing hidden; NaN where that is 0.
        outputs: ``(batch, k)``, with nothing hidden.
        feature_maps: The same four of the feature maps, in their order along ``k``; nothing without any.
        rises: The classes that rise.
        windows: Where they lie.
        is_local: Whether only what a window changes was computed again.
        chunk_size: Windows run at once, after any halving.
    """

    maps: torch.Tensor
    changes: torch.Tensor
    percentages: torch.Tensor
    outputs: torch.Tensor
    feature_maps: Changes | None
    rises: Rises
    windows: Windows
    is_local: bool
    chunk_size: int


def occlusion(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    window: int | tuple[int, int],
    stride: int | tuple[int, int],
    against: torch.Tensor | None = None,
    baseline: torch.Tensor | Sequence[torch.Tensor] | None = None,
    feature_maps: Sequence[FeatureMap] = (),
    n_rises: int = 5,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Occlusion:
    r"""Hides one window of the image after another, and tells what becomes of the output.

    .. math:: c_w = f(x) - f(x_w), \qquad M_p = \mathrm{mean} \{ c_w : p \in w \}

    where :math:`x_w` is the image with the baseline in window w. Windows begin at the upper left corner; the last ones
    of a row or column are cut where the image ends.

    Args:
        network: What to explain; its ``output`` says in which unit.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)``, or ``(batch, k)`` to explain k classes from the same passes.
        window: Side, or height and width, in pixels of the image as the network sees it.
        stride: From one window to the next, down and across, in pixels; at most the window.
        against: What each class is held against, so that a difference of outputs is explained: a class, int64 like
            ``target``, or weights over the classes, float ``(batch, classes)`` or ``(batch, k, classes)``.
        baseline: What windows are filled with, ``(1 | batch, channels, height, width)``; of several the changes are
            averaged. Zero (in normalised space) unless told.
        feature_maps: Channels of layers whose mean, maximum or value at one place is followed in the same way.
        n_rises: The most classes that are told as rising, from 0.
        chunk_size: Windows at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with windows done and in all; may raise to cancel.

    Returns:
        The changes, their maps, and what rises.

    Raises:
        InvalidInput: Inputs or baseline that do not fit the network.
        InvalidTarget: Not one row of existing classes an image.
        InvalidOption: Windows that are larger than the image, leave pixels out or are too many; a feature map that the
            network does not have.
        NetworkError: Outputs are not finite; feature maps without a graph.
        OutOfMemory: A single window does not fit into memory.

    Cost:
        A forward pass for each window and baseline, of which layers whose units see a part of the image compute only
        what the window changes; and up to 3 whole passes an image.

    Guarantee:
        Exact to rounding, about images that no camera took: the fill is evidence too.

    Source:
        Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2.

    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
    >>> _ = linear[1].weight.data.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, -1.0, 0.0, 0.0]]))
    >>> image = torch.ones(1, 1, 1, 4)
    >>> found = occlusion(Network(linear), image, torch.tensor([0]), window=(1, 2), stride=(1, 1))
    >>> found.changes.tolist(), found.maps.tolist()
    ([[[3.0, 5.0, 7.0]]], [[[[3.0, 4.0, 6.0, 7.0]]]])
    >>> found.rises.classes.tolist(), found.rises.windows.tolist(), found.rises.rises.tolist()
    ([[1, -1]], [[0, -1]], [[1.0, 0.0]])
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    fills = stacked_baselines(network, inputs, torch.zeros_like(inputs[:1]) if baseline is None else baseline, None)
    fills = fills.expand(-1, len(inputs), *inputs.shape[1:])
    windows = windows_of((inputs.shape[2], inputs.shape[3]), window, stride)
    require_count(n_rises, "n_rises", 0)
    with torch.inference_mode(False), torch.no_grad():
        require_classes(targets, network.class_count(inputs))
        require_feature_maps(network, feature_maps)
        passes = WindowPasses(network, windows, list(dict.fromkeys(one.layer for one in feature_maps)))
        chunks = Chunks(chunk_size or 1, len(inputs) * windows.total, progress)
        found = list[_Found]()
        for number in range(len(inputs)):
            own = targets.rows(slice(number, number + 1))
            image = _Image(passes, inputs[number : number + 1], fills[:, number], own, feature_maps)
            if number == 0:
                chunks.size = passes.fitting() if chunk_size is None else chunks.size
            found.append(image.explained(chunks, n_rises))
        classes = _changes(windows, found, slice(0, targets.k), inputs)
        asked = _changes(windows, found, slice(targets.k, None), inputs) if feature_maps else None
        rises = Rises(*(torch.stack(column) for column in zip(*(one.rises for one in found), strict=True)))
    require_finite("the changes", classes.changes, *([] if asked is None else [asked.changes]))
    if target.dim() == 1:
        classes = Changes(*(one[:, 0] for one in classes))
    return Occlusion(*classes, asked, rises, windows, passes.is_local, chunks.size)


class _Found(NamedTuple):
    """Of one image: ``before`` ``(k,)``, ``after`` ``(windows, k)``, and the rising classes."""

    before: torch.Tensor
    after: torch.Tensor
    rises: Rises


class _Image:
    """One image, ready to be hidden window by window."""

    def __init__(
        self,
        passes: WindowPasses,
        image: torch.Tensor,
        fills: torch.Tensor,
        targets: Targets,
        feature_maps: Sequence[FeatureMap],
    ) -> None:
        self._passes, self._fills, self._targets, self._feature_maps = passes, fills, targets, feature_maps
        start = passes.take(image, fills[0])
        self._start, self._dtype = start.outputs.double(), start.outputs.dtype
        self._before = self._numbers(start)[0]

    def _numbers(self, found: Hidden) -> torch.Tensor:
        """Returns what is explained, float64 ``(n, k)``: classes, then feature maps."""
        n = len(found.outputs)
        of_classes = self._targets.rows(torch.zeros(n, dtype=torch.int64)).of(found.outputs.double())
        channels = [one.of(found.channel(one.layer, one.channel).double()) for one in self._feature_maps]
        return torch.cat([of_classes, *(channel.unsqueeze(1) for channel in channels)], dim=1)

    def explained(self, chunks: Chunks, n_rises: int) -> _Found:
        """Returns what becomes of it with each of all windows hidden."""
        order = self._passes.order(chunks.size)
        after = self._before.new_empty(len(order), len(self._before))
        highest = torch.full_like(self._start[0], -torch.inf)
        where = torch.full_like(highest, -1, dtype=torch.int64)

        def work(start: int, stop: int) -> None:
            numbers = order[start:stop]
            found = [self._passes.run(numbers, fill) for fill in self._fills]
            after[numbers] = torch.stack([self._numbers(one) for one in found]).mean(0)
            outputs, first = torch.stack([one.outputs.double() for one in found]).mean(0).max(0)
            # Of equal ones the first window counts, in whatever order they come.
            better = (outputs > highest) | ((outputs == highest) & (numbers.to(where.device)[first] < where))
            highest[better], where[better] = outputs[better], numbers.to(where.device)[first][better]

        chunks.run(len(order), work)
        # What rounding alone explains is no rise.
        least = _ROUNDING * torch.finfo(self._dtype).eps * float(self._start.abs().max())
        return _Found(self._before, after, _rises(highest - self._start[0], where, n_rises, least))


def _rises(rises: torch.Tensor, windows: torch.Tensor, n_rises: int, least: float) -> Rises:
    """Returns the largest rises of classes, of so many, that are more than the least."""
    values, classes = rises.topk(min(n_rises, len(rises)))
    is_none = ~(values > least)
    found = windows[classes].masked_fill(is_none, -1)
    return Rises(classes.masked_fill(is_none, -1), found, values.masked_fill(is_none, 0))


def _changes(windows: Windows, found: Sequence[_Found], chosen: slice, inputs: torch.Tensor) -> Changes:
    before = torch.stack([one.before[chosen] for one in found])
    after = torch.stack([one.after[:, chosen].T for one in found])
    changes = before.unsqueeze(2) - after
    shares = 100 * changes / before.abs().unsqueeze(2).masked_fill(before.unsqueeze(2) == 0, torch.nan)
    changes, shares = (one.view(*one.shape[:2], *windows.grid) for one in (changes, shares))
    maps = windows.spread(changes).unsqueeze(2)
    return Changes(*(one.to(inputs.dtype) for one in (maps, changes, shares, before)))
