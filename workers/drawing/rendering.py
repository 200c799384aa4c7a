"""Pictures and raw files of an engine's output, chosen by the kind of the output alone."""

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from attribution.networks.lattices import Lattice
from attribution_contracts.render import RenderOptions
from workers.drawing.colormaps import Plane, palette
from workers.drawing.legends import with_legend
from workers.drawing.overlays import Box, Laid, Scene, laid_over
from workers.drawing.planes import Colours, MapValues, colours_of, plane_of, scaled, smoothing
from workers.methods.calls import OutputKind

_LONGEST_SIDE = 4096
_COMPRESSION = 1  # of PNGs: level 6 takes five times as long to save a fifth of the bytes


class RenderedFile(NamedTuple):
    """One file of the result, with what its `ArtifactRef` says of it."""

    name: str
    quantity: str
    media_type: str
    content: bytes
    shape: list[int]
    colormap: str | None = None
    range: tuple[float, float] | None = None
    of: str | None = None
    details: dict[str, Any] | None = None
    """What the ledger knows of it, for those who refer to it later."""
    smooth: float | None = None
    frame: Box | None = None
    units: str | None = None


class Shown(NamedTuple):
    """One output to draw."""

    field: str
    kind: OutputKind
    values: MapValues
    """`(channels, height, width)`."""
    scene: Scene | None = None
    """The image; without one there is no overlay."""
    lattice: Lattice | None = None
    """Of a layer: where its units lie in the image, where that is known."""
    title: tuple[str, ...] = ()
    """Lines of a legend: of what class it is, and by which method."""
    ends: tuple[str, str] = ("", "")
    """What negative and positive values speak for, in words."""


def render(shown: Shown, limit: float, options: RenderOptions) -> list[RenderedFile]:
    """The files of one output, whose colour scale ends at the limit."""
    return RENDERERS[shown.kind](shown, limit, options)


def input_picture(seen: Image.Image) -> RenderedFile:
    """The image as the network saw it, pixel for pixel."""
    return RenderedFile("input.png", "input", "image/png", _png(seen), [seen.height, seen.width])


def _render_map(shown: Shown, limit: float, options: RenderOptions) -> list[RenderedFile]:
    if shown.scene is not None:
        _require_same_size(shown.values, shown.scene.seen)
    return _raw_and_pictures(shown, limit, options, None)


def _render_layer(shown: Shown, limit: float, options: RenderOptions) -> list[RenderedFile]:
    """A map of a layer at the layer's own resolution, and over the image where its units lie."""
    return _raw_and_pictures(shown, limit, options, "stretched" if shown.lattice is None else "placed")


def _render_values(shown: Shown, limit: float, options: RenderOptions) -> list[RenderedFile]:
    del limit, options
    return [_raw(shown.field, shown.values)]


def _render_picture(shown: Shown, limit: float, options: RenderOptions) -> list[RenderedFile]:
    """Pixels between 0 and 1 as they are, in colour where there are three channels."""
    del limit
    seen = pixels(shown.values)
    drawn = _enlarged(seen, _enlargement(seen, options.min_side))
    shape = [drawn.height, drawn.width]
    picture = RenderedFile(f"{shown.field}.png", "picture", "image/png", _png(drawn), shape, of=shown.field)
    return [_raw(shown.field, shown.values), picture]


def pixels(values: MapValues) -> Image.Image:
    """A picture `(1 | 3, height, width)` with values between 0 and 1."""
    levels = np.round(255 * np.clip(values, 0.0, 1.0)).astype(np.uint8)
    return Image.fromarray(levels[0]) if len(levels) == 1 else Image.fromarray(levels.transpose(1, 2, 0))


Renderer = Callable[[Shown, float, RenderOptions], list[RenderedFile]]
RENDERERS: dict[OutputKind, Renderer] = {
    "signed": _render_map,
    "magnitude": _render_map,
    "regions": _render_map,
    "ranks": _render_map,
    "per_layer": _render_layer,
    "layer_magnitude": _render_layer,
    "picture": _render_picture,
    "values": _render_values,
}
"""What draws each kind of output. A kind joins with the first method that yields it."""


def _raw_and_pictures(shown: Shown, limit: float, options: RenderOptions, units: str | None) -> list[RenderedFile]:
    plane = scaled(plane_of(shown.values, shown.kind, options), limit)
    colours = colours_of(shown.kind, limit, options)
    files = [_raw(shown.field, shown.values), _picture(shown, "heatmap", _heatmap(plane, colours), colours, options)]
    if shown.scene is not None and options.overlay != "none":
        laid = laid_over(plane, shown.lattice, shown.scene, colours, options)
        files.append(_picture(shown, "overlay", laid, colours, options)._replace(units=units))
    return files


def _heatmap(plane: Plane, colours: Colours) -> Laid:
    """The map in its colours; with a palette, which takes a third of the bytes and of the time."""
    picture = Image.fromarray(colours.levels(plane))
    picture.putpalette(palette(colours.colormap).tobytes())
    return Laid(picture, (0.0, 0.0, picture.width, picture.height))


def _raw(field: str, values: MapValues) -> RenderedFile:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values, dtype="<f4"), allow_pickle=False)
    return RenderedFile(f"{field}.npy", field, "application/x-npy", buffer.getvalue(), list(values.shape))


def _picture(shown: Shown, quantity: str, laid: Laid, colours: Colours, options: RenderOptions) -> RenderedFile:
    factor = _enlargement(laid.picture, options.min_side)
    picture, (left, top, right, bottom) = _enlarged(laid.picture, factor), (factor * edge for edge in laid.box)
    sigma = smoothing(shown.values, shown.kind, options)
    if options.legend:
        notes = [f"smoothed over {sigma:.2g} pixels"] if sigma else []
        if colours.is_diverging and all(shown.ends):
            above, below = colours.colormap.split("_")  # signed maps are called by the colours of both signs
            notes = [f"{above}: {shown.ends[1]}", f"{below}: {shown.ends[0]}", *notes]
        picture, (across, down) = with_legend(picture, shown.title, colours, notes)
        left, top, right, bottom = left + across, top + down, right + across, bottom + down
    frame = (left, top, right, bottom)
    return RenderedFile(
        f"{shown.field}-{quantity}.png",
        quantity,
        "image/png",
        _png(picture),
        [picture.height, picture.width],
        colours.colormap,
        colours.range,
        shown.field,
        smooth=sigma,
        frame=None if frame == (0, 0, *picture.size) else frame,
    )


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()


def _enlargement(picture: Image.Image, min_side: int) -> int:
    short, long = sorted(picture.size)
    return max(1, min(-(-min_side // short), _LONGEST_SIDE // long))


def _enlarged(picture: Image.Image, factor: int) -> Image.Image:
    if factor == 1:
        return picture
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _require_same_size(values: MapValues, image: Image.Image) -> None:
    height, width = values.shape[-2:]
    if values.ndim != 3 or (image.height, image.width) != (height, width):
        raise ValueError(
            f"a map of shape {list(values.shape)} does not fit an image of {image.height} x {image.width}: "
            "expected (channels, height, width) and the image as the network saw it"
        )
