"""The page of a job: one file for a browser, with pictures, predictions, figures in words and warnings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from PIL import Image

from attribution_contracts.hints import in_words
from attribution_contracts.results import ArtifactRef, ClassScore, ImageResult, Provenance, Result, TargetScore
from attribution_contracts.version import VERSION
from attribution_contracts.warnings import ResultWarning
from workers.drawing.album import MOST_BYTES, Album
from workers.drawing.pages import gradient, template
from workers.drawing.rendering import RenderedFile
from workers.drawing.words import ENDS, MEANINGS, PER_PART, number, of_class, of_image

QUANTITY = "sheet_html"
ONE_SCALE = (
    'Maps of one kind share their colours over all images, so that they compare; a pale one is weak. With "scale": '
    '"image" in render (on the command line --render scale=image) each is drawn in colours of its own.'
)
"""Of maps that share their colours over several images."""
_SIDE_BY_SIDE = "all explanations side by side"
_NAMED = 4
"""Classes that are compared and named."""
_CAPTIONS = {"heatmap": "{}{}", "overlay": "{}{} over the image"}
"""Pictures of maps by quantity, in words."""


class _Chart(NamedTuple):
    """A picture that is of no single map."""

    caption: str
    shows: str | None = None
    """The quantity whose maps are all in it."""


CHARTS = {
    "layers": _Chart("the map of each layer, from the input to the output", "layer_map"),
    "depth": _Chart("what each layer contributes"),
    "neurons": _Chart("what single neurons answer to the image", "activation"),
    "spikes": _Chart("the sum of each neuron's map"),
    "contributions": _Chart("what adds up to the logit"),
    "pixels": _Chart("where the chosen pixels are, and with which others they tell classes apart", "pixel_covariation"),
    "inversions": _Chart("the image, and pictures from noise that the layer cannot tell from it"),
    "filter_grid": _Chart("the filters of the first convolution, by channel: grey is zero"),
    "visualizations": _Chart("pictures that excite the units"),
    "ascent": _Chart("what the units answer as their pictures change"),
    "occlusion": _Chart("what becomes of the outputs as pixels go and come back"),
}
"""Charts by quantity."""


class Answer(NamedTuple):
    """One explanation of the images by one model."""

    title: str
    images: Mapping[int, ImageResult]
    """By position."""
    seen: Callable[[int], Image.Image | None]
    """The image at a position as the network saw it."""
    provenance: Provenance | None
    error: str | None = None
    """Why there are no images."""
    of_model: Result | None = None
    """Of a method that looks at no image: what there is."""


class Legend(NamedTuple):
    """The colour bar of a map."""

    gradient: str
    low: str
    high: str
    against: str = ""
    favour: str = ""


class Shown(NamedTuple):
    """One picture of the page, or what stands in its place."""

    name: str
    caption: str
    alt: str
    source: str | None
    is_again: bool
    legend: Legend | None = None


class _Group(NamedTuple):
    """What there is of one class, or of all of them together."""

    title: str
    sentences: list[str]
    warnings: list[ResultWarning]
    maps: list[Shown]
    framed: list[Shown]
    """Maps with legends of their own, which are read at their own size."""
    charts: list[Shown]


@dataclass
class _Block:
    """One explanation of one image."""

    title: str
    error: str | None = None
    seen: Shown | None = None
    prediction: list[ClassScore] = field(default_factory=list)
    label: ClassScore | None = None
    """The class that the image was said to have."""
    groups: list[_Group] = field(default_factory=list)


class _Section(NamedTuple):
    """One image, and its explanations."""

    name: str
    beside: list[Shown]
    """Sheets of all explanations together."""
    blocks: list[_Block]


def page(
    title: str,
    names: Sequence[str],
    answers: Sequence[Answer],
    content: Callable[[ArtifactRef], bytes],
    look: Callable[[int], None] = lambda _: None,
    *,
    sheets: Sequence[ArtifactRef] = (),
    note: str = "",
) -> RenderedFile:
    """The page of some explanations of the images of those names.

    It holds nothing that differs between two runs of one request.

    Args:
        title: Its heading.
        names: Of the images.
        answers: The explanations.
        content: The bytes of a file.
        look: Sees each position, and raises to stop.
        sheets: Pictures of all explanations of an image side by side.
        note: A sentence on all of it.
    """
    album, sections = Album(), []
    for position, name in enumerate(names):
        look(position)
        beside = [_shown(file, _SIDE_BY_SIDE, album, content) for file in sheets if file.image == position]
        blocks = list[_Block]()
        for answer in answers:
            block = _block(answer, position, name, album, content)
            if blocks and block.seen is not None and block.seen.is_again:  # of the same image, just above
                block.seen = None
            blocks.append(block)
        sections.append(_Section(name, beside, blocks))
    sections += [_of_model(one.title, one.of_model, album, content) for one in answers if one.of_model is not None]
    rendered = template("workers.drawing", "page.html").render(
        title=title,
        note=note,
        n_images=len(names),
        images=sections,
        answers=answers,
        left_out=album.left_out,
        most=f"{MOST_BYTES // 1024**2} MiB",
        version=VERSION,
    )
    return RenderedFile("sheet.html", QUANTITY, "text/html", rendered.encode(), [len(names)])


def _of_model(title: str, result: Result, album: Album, content: Callable[[ArtifactRef], bytes]) -> _Section:
    """What is said of a model, and its charts."""
    found = result.of_model
    assert found is not None  # noqa: S101 - the caller asked a method that looks at the model
    charts = [_shown(file, _caption(file, ""), album, content) for file in result.artifacts if file.quantity in CHARTS]
    group = _Group("The model by itself", list(found.sentences()), found.warnings, [], [], charts)
    return _Section("Without any image", [], [_Block(title, groups=[group])])


def _block(answer: Answer, position: int, name: str, album: Album, content: Callable[[ArtifactRef], bytes]) -> _Block:
    image = answer.images.get(position)
    if image is None:
        return _Block(answer.title, answer.error or "it was not explained")
    if image.error is not None:
        return _Block(answer.title, f"{image.error.title}: {image.error.detail}")
    picture, seen = answer.seen(position), None
    if picture is not None:
        placed = album.place_image(picture)
        seen = Shown(name, "", f"{name} as the network saw it", *placed)
    return _Block(answer.title, None, seen, image.prediction, image.label, list(_groups(image, answer, album, content)))


def _groups(
    image: ImageResult, answer: Answer, album: Album, content: Callable[[ArtifactRef], bytes]
) -> Iterator[_Group]:
    """What is of all classes, then each explained class, then others that there are files of."""
    targets = {target.index: target for target in image.targets}
    method = "" if answer.provenance is None else answer.provenance.method
    judged = [*(one.target for one in image.deletions), *(one.target for one in image.localization)]
    for index in dict.fromkeys([None, *targets, *(file.target for file in image.artifacts), *judged]):
        target = None if index is None else targets.get(index)
        sentences = list(of_image(image) if index is None else of_class(image, index))
        warnings = [warning for warning in image.warnings if warning.target == index]
        files = [file for file in image.artifacts if file.target == index]
        maps, charts = _pictures(files, target, method, album, content, _split(image, index))
        has_legends = any(file.quantity == "heatmap" and file.frame is not None for file in files)
        if sentences or warnings or maps or charts:
            shown = ([], maps) if has_legends else (maps, [])
            yield _Group(_title(image, index, target), sentences, warnings, *shown, charts)


def _title(image: ImageResult, index: int | None, target: TargetScore | None) -> str:
    if index is None:
        return "All maps" if image.targets else _compared(image)
    if target is None:
        return f"Class {next((score.name for score in image.prediction if score.index == index), None) or index}"
    return f"Class {target.said}, {'difference' if target.against else 'output'} {number(target.output)}"


def _compared(image: ImageResult) -> str:
    """Which classes are compared: by name where it is known and there are few."""
    if image.class_variation is None:
        return "All maps"
    names = {score.index: score.name for score in [*image.prediction, *filter(None, [image.label])]}
    classes = image.class_variation.classes
    if not 0 < len(classes) <= _NAMED:
        return "All classes together"
    return f"Classes {in_words([names.get(index) or index for index in classes])} together"


def _pictures(
    files: Sequence[ArtifactRef],
    target: TargetScore | None,
    method: str,
    album: Album,
    content: Callable[[ArtifactRef], bytes],
    split: Mapping[str | None, str],
) -> tuple[list[Shown], list[Shown]]:
    """The maps that no chart shows together, with the last layer of one that does over the image; and the charts."""
    charts = [file for file in files if file.quantity in CHARTS and file.media_type == "image/png"]
    shown_there = {CHARTS[file.quantity].shows for file in charts}
    maps = [file for file in files if file.quantity in _CAPTIONS and file.of not in shown_there]
    by_layer = [file for file in files if file.layer and file.channel is None]
    maps += [file for file in by_layer if file.quantity == "overlay" and file.of in shown_there][-1:]
    return (
        [
            _shown(file, _caption(file, method, split.get(file.layer)), album, content)._replace(
                legend=_legend(file, target)
            )
            for file in maps
        ],
        [_shown(file, _caption(file, method), album, content) for file in charts],
    )


def _split(image: ImageResult, index: int | None) -> dict[str | None, str]:
    """What is shown and what is not, in words, by layer of a class with maps that cannot show all."""
    return {one.layer: one.said for one in image.layers if one.target == index and one.without_place is not None}


def _caption(file: ArtifactRef, method: str, beside: str | None = None) -> str:
    layer = "" if file.layer is None else f" of {file.layer}"
    layer += "" if file.channel is None else f", channel {file.channel}"
    if (chart := CHARTS.get(file.quantity)) is not None:
        return f"{chart.caption}{layer}"
    named = file.of or ""
    meaning = PER_PART.get((method, named), MEANINGS.get(named)) if file.quantity == "heatmap" else None
    told = "".join(f": {words}" for words in (meaning, beside) if words)
    return _CAPTIONS[file.quantity].format(_words(file.of), layer) + told


def _shown(file: ArtifactRef, caption: str, album: Album, content: Callable[[ArtifactRef], bytes]) -> Shown:
    return Shown(file.name, caption, caption, *album.place(file.sha256, lambda: content(file)))


def _legend(file: ArtifactRef, target: TargetScore | None) -> Legend | None:
    if file.colormap is None or file.range is None:
        return None
    low, high = file.range
    words = ENDS.get(file.of or "", ("", "")) if target is None else target.ends
    return Legend(gradient(file.colormap), number(low), number(high), *(words if low < 0 < high else ("", "")))


def _words(name: str | None) -> str:
    return (name or "map").replace("_", " ")
