"""Images as points along principal components: charts, and a page to point at."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from markupsafe import Markup
from PIL import Image

from attribution.data_sets.principal import Principal
from workers.drawing.charts import figure_of, png
from workers.drawing.explained import class_name
from workers.drawing.pages import address, template
from workers.drawing.rendering import RenderedFile
from workers.drawing.text import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Color = Literal["label", "prediction", "probability", "right"]
QUANTITY = "points_html"

_DRAWN, _ON_PAGE = 20_000, 5_000
"""Points of a chart and of a page; of more, so many evenly."""
_COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf", "#3b3b98"),
    *("#f6b93b", "#78e08f", "#e55039", "#60a3bc", "#b71540", "#0a3d62", "#82589f", "#6d214f", "#58b19f", "#cad3c8"),
)
_OTHERS, _WRONG, _RIGHT = "#bbbbbb", "#d62728", "#9db7d5"
_AXES = 10
"""Components that a page can show."""
_NAME = 24
"""Letters of a class in a legend."""
_THUMBNAIL, _QUALITY = 96, 80
_MOST_BYTES = 6 * 1024 * 1024
"""Of all thumbnails of a page."""
_BARS = 30
"""Components of a scree plot."""


class Points(NamedTuple):
    """Where all images of a data set lie, in its order."""

    coordinates: torch.Tensor
    """float64 `(n, k)`."""
    labels: torch.Tensor
    predicted: torch.Tensor
    probability: torch.Tensor
    """Of what is predicted."""
    names: Sequence[str]
    classes: Sequence[str]
    """Names of the model's classes, where it has some."""

    def evenly(self, most: int) -> list[int]:
        """So many positions at most, evenly from all."""
        count = len(self.names)
        return list(range(count)) if count <= most else [number * count // most for number in range(most)]

    def pictured(self, most: int) -> list[int]:
        """Positions on the page whose pictures are shown."""
        shown = self.evenly(_ON_PAGE)
        return shown if len(shown) <= most else [shown[number * len(shown) // most] for number in range(most)]


def scree_chart(found: Principal, title: str) -> RenderedFile:
    """The share of the variance along each component, and of all up to it."""
    shares = (found.spectrum / found.total)[:_BARS]
    figure = figure_of(6.4, 3.8, f"{title}: variance along the principal components")
    panel = figure.subplots()
    places = range(1, len(shares) + 1)
    panel.bar(places, (100 * shares).tolist(), color="#8fb0d3", label="along this one")
    panel.plot(places, (100 * shares.cumsum(0)).tolist(), "o-", color="#222222", markersize=3, label="up to this one")
    panel.set_xlabel("component")
    panel.set_ylabel("% of the variance")
    panel.set_ylim(0, 103)
    panel.legend(frameon=False, fontsize=9)
    panel.spines[["top", "right"]].set_visible(False)
    return png("scree", figure)


def scatter_chart(points: Points, title: str, color: Color, explained: Sequence[float]) -> RenderedFile:
    """The images along the first two components."""
    shown = points.evenly(_DRAWN)
    figure = figure_of(7.6, 5.8, f"{title}, coloured by {color}")
    panel = figure.subplots()
    size = max(3.0, min(26.0, 12_000 / len(shown)))
    coordinates = points.coordinates[shown]
    across = coordinates[:, 0]
    down = coordinates[:, 1] if coordinates.shape[1] > 1 else torch.zeros_like(across)
    if color == "probability":
        drawn = panel.scatter(across.tolist(), down.tolist(), size, points.probability[shown].tolist(), vmin=0, vmax=1)
        figure.colorbar(drawn, label="probability of the class that wins")
    else:
        _grouped(panel, across, down, size, _groups(points, color, shown))
        figure.legend(loc="outside right upper", frameon=False, fontsize=8, markerscale=max(1.0, (26 / size) ** 0.5))
    panel.set_xlabel(f"component 1, {100 * explained[0]:.1f} % of the variance")
    panel.set_ylabel(f"component 2, {100 * explained[1]:.1f} %" if len(explained) > 1 else "")
    panel.spines[["top", "right"]].set_visible(False)
    return png("scatter", figure)


class _Group(NamedTuple):
    name: str
    colour: str
    members: torch.Tensor


def _grouped(panel: "Axes", across: torch.Tensor, down: torch.Tensor, size: float, groups: Sequence[_Group]) -> None:
    for group in groups:
        where = (across[group.members].tolist(), down[group.members].tolist())
        panel.scatter(*where, size, color=group.colour, label=group.name, alpha=0.75, linewidths=0)


def _groups(points: Points, color: Color, shown: Sequence[int]) -> list[_Group]:
    """The images of each colour; of many classes the most frequent have one, and the others come first."""
    labels, predicted = points.labels[shown], points.predicted[shown]
    if color == "right":
        is_right = labels == predicted
        return [_Group("right", _RIGHT, is_right.nonzero()[:, 0]), _Group("wrong", _WRONG, (~is_right).nonzero()[:, 0])]
    values = labels if color == "label" else predicted
    colours = class_colours(values.tolist())
    found = [
        _Group(shortened(class_name(points.classes, one), _NAME), colours[one], (values == one).nonzero()[:, 0])
        for one in sorted(colours)
    ]
    named = torch.tensor(sorted(colours))
    others = (~torch.isin(values, named)).nonzero()[:, 0]
    return [_Group("other classes", _OTHERS, others), *found] if len(others) else found


def class_colours(values: Sequence[int]) -> dict[int, str]:
    """A colour for each class, of many for the most frequent.

    >>> class_colours([3, 0, 3])
    {0: '#1f77b4', 3: '#ff7f0e'}
    """
    frequent = sorted(Counter(values).items(), key=lambda one: (-one[1], one[0]))[: len(_COLOURS)]
    return dict(zip(sorted(one for one, _ in frequent), _COLOURS, strict=False))


def points_page(
    points: Points,
    title: str,
    color: Color,
    explained: Sequence[float],
    pictures: Iterable[tuple[int, Image.Image]],
) -> RenderedFile:
    """One file for a browser: points to hover over, with the picture and what is known of each."""
    shown = points.evenly(_ON_PAGE)
    classes = sorted({*points.labels[shown].tolist(), *points.predicted[shown].tolist()})
    both = [*points.labels[shown].tolist(), *points.predicted[shown].tolist()]
    data = {
        "color": color,
        "names": [points.names[at] for at in shown],
        "label": points.labels[shown].tolist(),
        "prediction": points.predicted[shown].tolist(),
        "probability": [round(value, 4) for value in points.probability[shown].tolist()],
        "places": [[float(f"{value:.5g}") for value in row] for row in points.coordinates[shown, :_AXES].T.tolist()],
        "explained": [round(value, 5) for value in explained[:_AXES]],
        "classes": {str(one): class_name(points.classes, one) for one in classes},
        "colours": {str(one): colour for one, colour in class_colours(both).items()},
        "pictures": _thumbnails(shown, pictures),
    }
    # Inside of a script only the end of it must not be found.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    page = template("workers.drawing", "points.html").render(
        title=title,
        data=Markup(text),  # noqa: S704 - JSON without the sign that ends a script
        count=len(points.names),
        shown=len(shown),
        pictured=sum(picture is not None for picture in _listed(data["pictures"])),
    )
    return RenderedFile("points.html", QUANTITY, "text/html", page.encode(), [len(shown)])


def _listed(pictures: object) -> list[object]:
    return pictures if isinstance(pictures, list) else []


def _thumbnails(shown: Sequence[int], pictures: Iterable[tuple[int, Image.Image]]) -> list[str | None]:
    """The picture of each point as an address, as long as there is room."""
    places = {position: place for place, position in enumerate(shown)}
    found: list[str | None] = [None] * len(shown)
    room = _MOST_BYTES
    for position, picture in pictures:
        buffer, small = io.BytesIO(), picture.copy()
        small.thumbnail((_THUMBNAIL, _THUMBNAIL))
        small.save(buffer, format="WEBP", quality=_QUALITY)
        if (room := room - len(buffer.getvalue())) < 0:
            break
        found[places[position]] = address(buffer.getvalue(), "image/webp")
    return found
