"""Charts of fitted decompositions."""

from collections.abc import Sequence

import torch

from attribution import Influential, overlap
from attribution_contracts.figures.decomposition import DecompositionResult
from attribution_contracts.tasks.decomposition import SweepReport
from workers.drawing.charts import figure_of, png
from workers.drawing.explained import ExplainedImage, class_name
from workers.drawing.files import Drawn, Subject
from workers.drawing.rendering import RenderedFile
from workers.drawing.text import inches

_CLASSES = 12
"""Panels of the histogram, of the classes with the most images."""
_BARS = 24
_NAME_SIZE = 9
_NAMED = 40
"""Classes whose names fit at a heatmap's side."""


def histogram_chart(influential: Influential, labels: Sequence[str]) -> RenderedFile:
    """How often features are among the largest of a class's images: the most frequent first, those kept in colour."""
    chosen = influential.images.argsort(descending=True, stable=True)[:_CLASSES].sort().values.tolist()
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = figure_of(3.4 * columns, 2.1 * rows)
    for place, index in enumerate(chosen):
        panel = figure.add_subplot(rows, columns, place + 1)
        counts, features = influential.histogram[index].sort(descending=True, stable=True)
        counts, features = counts[:_BARS], features[:_BARS]
        kept = torch.isin(features, influential.indices[index]).tolist()
        shares = (100 * counts / influential.images[index].clamp(min=1)).tolist()
        panel.bar(range(len(shares)), shares, color=["#b2182b" if one else "#bbbbbb" for one in kept])
        panel.set_xticks(range(len(shares)), [str(one) for one in features.tolist()], rotation=90, fontsize=6)
        panel.set_title(f"{class_name(labels, index)}  ({int(influential.images[index])} images)", fontsize=9)
        panel.set_ylabel("% of images", fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    return png("histogram", figure)


def overlap_chart(influential: Influential, labels: Sequence[str]) -> RenderedFile:
    """Jaccard index of every two classes' features."""
    jaccard = overlap(influential).jaccard
    side = max(4.0, min(0.3 * len(jaccard), 10.0))
    figure = figure_of(side + 1.6, side)
    panel = figure.subplots()
    shown = panel.imshow(jaccard.cpu().numpy(), vmin=0, vmax=1, cmap="magma", interpolation="nearest")
    if len(jaccard) <= _NAMED:
        names = [class_name(labels, index) for index in range(len(jaccard))]
        panel.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
        panel.set_yticks(range(len(names)), names, fontsize=8)
    figure.colorbar(shown, label="shared features (Jaccard index)")
    return png("overlap", figure)


def keep_contributions(drawn: Drawn, image: ExplainedImage) -> None:
    """Stores the chart of each class of an image."""
    for found in image.figures.wire["decomposition"]:
        drawn.keep(Subject(image.position, found.target), contributions_chart(found, image.titled(found.target)))


def contributions_chart(found: DecompositionResult, title: str) -> RenderedFile:
    """What adds up to a class's logit in one image: its strongest influential features, and all the rest."""
    strongest = sorted(found.features, key=lambda feature: -abs(feature.contribution))
    kept = sorted(strongest[:_BARS], key=lambda feature: -feature.contribution)
    bars = [(f"{feature.index} ({_ordinal(feature.place)})", feature.contribution) for feature in kept]
    rest = _rest(found, [feature.contribution for feature in strongest[_BARS:]])
    longest = max(inches(name, _NAME_SIZE) for name, _ in [*bars, *rest])
    figure = figure_of(4.6 + longest, 1.9 + 0.26 * (len(bars) + len(rest)), title)
    panel = figure.subplots()
    colors = ["#b2182b" if value > 0 else "#2166ac" for _, value in bars] + ["#888888"] * len(rest)
    places = [*range(len(bars)), *(len(bars) + 0.5 + number for number in range(len(rest)))]
    panel.barh(places, [value for _, value in [*bars, *rest]], color=colors)
    panel.bar_label(panel.containers[0], fmt="%+.3g", padding=3, fontsize=8)  # type: ignore[arg-type]  # of bars
    panel.set_yticks(places, [name for name, _ in [*bars, *rest]], fontsize=_NAME_SIZE)
    panel.set_ylim(places[-1] + 0.7, -0.7)
    panel.margins(x=0.14)
    panel.axvline(0, color="#111111", linewidth=0.8)
    panel.set_title(f"logit {found.logit:.2f}, by the influential features {found.decomposed_logit:.2f}", fontsize=10)
    panel.set_xlabel("contribution to the logit", fontsize=10)
    panel.set_ylabel("feature (place in histogram)", fontsize=10)
    panel.spines[["top", "right"]].set_visible(False)
    return png("contributions", figure)


def _rest(found: DecompositionResult, weaker: Sequence[float]) -> list[tuple[str, float]]:
    """What the logit has besides the features that are shown one by one."""
    bars = [(f"{len(weaker)} more influential features", sum(weaker))] if weaker else []
    if found.bias:
        bars.append(("bias", found.bias))
    return [*bars, ("all other features", found.logit - found.decomposed_logit)]


def _ordinal(place: int) -> str:
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def sweep_chart(report: SweepReport) -> RenderedFile:
    """Accuracy over the features a class, a line for each size of the histogram."""
    figure = figure_of(7.0, 4.2)
    panel = figure.subplots()
    for size, row in zip(report.n_initial, report.accuracy, strict=True):
        panel.plot(report.n_features, row, marker="o", markersize=4, label=f"{size} counted an image")
    panel.axhline(report.full_accuracy, color="#777777", linestyle="--", linewidth=1.0, label="full network")
    panel.set_xscale("log")
    panel.set_xticks(report.n_features, [str(width) for width in report.n_features])
    panel.minorticks_off()
    panel.set_xlabel("features a class")
    panel.set_ylabel(f"accuracy on {report.images:,} images")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize=9)
    return png("sweep", figure)
