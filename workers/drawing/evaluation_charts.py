"""Charts of what a classifier gets wrong, and of how sure it is."""

from collections.abc import Sequence

import torch
from scipy.stats import binomtest

from attribution.data_sets.judged import BINS, Judged
from workers.drawing.charts import figure_of, png
from workers.drawing.explained import class_name
from workers.drawing.rendering import RenderedFile

_SHOWN, _COUNTED = 40, 20
"""Classes that are shown at most, so that their names fit, and whose numbers fit into the cells."""


def confusion_chart(found: Judged, labels: Sequence[str]) -> RenderedFile:
    """Of the images of each class, a row, the share that is taken for each class; of many, the most confused ones."""
    shown = _most_confused(found)
    counts = found.confusion.index_select(0, shown).index_select(1, shown).to_dense()
    shares = (100 * counts / found.own[shown].unsqueeze(1).clamp(min=1)).tolist()
    side = max(4.2, min(0.42 * len(shown), 11.0))
    figure = figure_of(side + 1.8, side)
    panel = figure.subplots()
    image = panel.imshow(shares, vmin=0, vmax=100, cmap="Blues", interpolation="nearest")
    names = [class_name(labels, index) for index in shown.tolist()]
    panel.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    panel.set_yticks(range(len(names)), names, fontsize=8)
    if len(shown) < (present := _present(found)):
        panel.set_title(f"the {len(shown)} classes with the most mistakes, of {present}", fontsize=10)
    if len(shown) <= _COUNTED:
        for row, column in torch.nonzero(counts).tolist():
            color = "white" if shares[row][column] > 55 else "#111111"
            number = str(int(counts[row, column]))
            panel.text(column, row, number, ha="center", va="center", fontsize=8, color=color)
    panel.set_xlabel("class given by the network")
    panel.set_ylabel("class in the data set")
    figure.colorbar(image, label="% of the images of a class")
    return png("confusion", figure)


def _present(found: Judged) -> int:
    """How many classes have images, or are given to some."""
    return len(torch.unique(found.confusion.indices()))


def _most_confused(found: Judged) -> torch.Tensor:
    """The classes that have images or are given to some, in order; those with the most wrong ones, of many."""
    labels, winners = found.confusion.indices()
    wrong = found.confusion.values() * (labels != winners)
    mistakes = torch.zeros(2, len(found.confusion), dtype=torch.int64)
    mistakes[0].index_add_(0, labels, wrong).index_add_(0, winners, wrong)
    mistakes[1].index_add_(0, torch.cat([labels, winners]), torch.ones(2 * len(labels), dtype=torch.int64))
    present = mistakes[1].nonzero().flatten()
    order = mistakes[0, present].argsort(descending=True, stable=True)[:_SHOWN]
    return present[order].sort().values


def calibration_chart(found: Judged) -> RenderedFile:
    """How many images are right of those that the network is so sure of; below, how many there are."""
    figure = figure_of(5.2, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    filled = found.images > 0
    sure = (found.confidence / found.images.clamp(min=1))[filled].tolist()
    right = (found.right / found.images.clamp(min=1))[filled].tolist()
    bounds = [
        binomtest(int(hits), int(count)).proportion_ci(method="wilson")
        for hits, count in zip(found.right[filled], found.images[filled], strict=True)
    ]
    ends = [
        [max(0.0, share - bound.low) for share, bound in zip(right, bounds, strict=True)],
        [max(0.0, bound.high - share) for share, bound in zip(right, bounds, strict=True)],
    ]
    upper.plot([0, 1], [0, 1], color="#777777", linestyle="--", linewidth=1.0, label="as right as sure")
    told = "this classifier, with 95 % intervals"
    upper.errorbar(sure, right, yerr=ends, fmt="o", color="#2166ac", ecolor="#92b4d5", label=told)
    upper.set_ylabel("share that is right")
    upper.set_ylim(-0.03, 1.03)
    upper.set_title(f"expected calibration error {found.calibration_error:.1%}", fontsize=10)
    upper.legend(frameon=False, fontsize=9)
    lower.bar([(number + 0.5) / BINS for number in range(BINS)], found.images.tolist(), 0.9 / BINS, color="#bbbbbb")
    lower.set_xlabel("probability of the class that wins")
    lower.set_ylabel("images")
    for panel in (upper, lower):
        panel.spines[["top", "right"]].set_visible(False)
    return png("calibration", figure)
