"""Pictures and raw files of an engine's output, chosen by the kind of the output alone."""

import io
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

import cmap
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attribution_contracts.render import MagnitudeColormap, RenderOptions, SignedColormap
from workers.methods.calls import OutputKind

MapValues = NDArray[np.float32]
Plane = NDArray[np.float64]
Pixels = NDArray[np.uint8]

Colormap = SignedColormap | MagnitudeColormap

COLORMAPS: dict[Colormap, str] = {
    "red_blue": "colorbrewer:RdBu_r",
    "purple_green": "colorbrewer:PRGn",
    "brown_teal": "colorbrewer:BrBG",
    "viridis": "bids:viridis",
    "inferno": "bids:inferno",
    "grey": "matlab:gray",
}
"""Our names, and the maps of the cmap catalogue that they stand for: low values first, the positive sign last."""

_LEVELS = 255  # odd, so that zero has a colour of its own in the middle of a diverging map
_VIVID = 0.4  # from the middle of a diverging map: the full colour, before it darkens towards the end
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


class _Drawing(NamedTuple):
    """A plane scaled for drawing."""

    strength: Plane
    """In [0, 1], whatever the sign."""
    levels: Pixels
    """Of the heatmap: indices into the palette of the colour map, `(height, width)`."""
    vivid: Pixels
    """Of the overlay, where strength is opacity."""
    colormap: Colormap
    range: tuple[float, float]


def limits(maps: Iterable[MapValues], kind: OutputKind, options: RenderOptions) -> list[float]:
    """The value at the end of each map's colour scale; with `scale="job"` the largest of them, for all."""
    own = [_limit(_plane(values, kind, options), options.clip_percentile) for values in maps]
    return [max(own)] * len(own) if own and options.scale == "job" else own


def render(
    field: str, kind: OutputKind, values: MapValues, image: Image.Image | None, limit: float, options: RenderOptions
) -> list[RenderedFile]:
    """The files of one output, `values` being (channels, height, width); without an image there is no overlay."""
    return RENDERERS[kind](field, kind, values, image, limit, options)


def colors(colormap: Colormap, count: int) -> list[str]:
    """Colours from one end of a map to the other as `#rrggbb`, for a legend."""
    chosen = np.linspace(0, _LEVELS - 1, count).round().astype(int)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in _palette(colormap)[chosen].tolist()]


def _render_map(
    field: str, kind: OutputKind, values: MapValues, image: Image.Image | None, limit: float, options: RenderOptions
) -> list[RenderedFile]:
    if image is not None:
        _require_same_size(values, image)
    drawing = _drawing(_plane(values, kind, options), limit, kind, options)
    files = [_raw(field, values), _picture(field, "heatmap", _heatmap(drawing), drawing, options)]
    if image is not None and options.overlay != "none":
        overlay = Image.fromarray(_overlay(drawing, image, options))
        files.append(_picture(field, "overlay", overlay, drawing, options))
    return files


def _render_layer(
    field: str, kind: OutputKind, values: MapValues, image: Image.Image | None, limit: float, options: RenderOptions
) -> list[RenderedFile]:
    """A map of a layer at the layer's own resolution, and drawn smoothly over the image."""
    plane = _plane(values, kind, options)
    drawing = _drawing(plane, limit, kind, options)
    files = [_raw(field, values), _picture(field, "heatmap", _heatmap(drawing), drawing, options)]
    if image is not None and options.overlay != "none":
        scaled = np.clip(plane, -limit, limit) / (limit or 1.0)
        upsampled = Image.fromarray(scaled.astype(np.float32)).resize(image.size, Image.Resampling.BILINEAR)
        over = _drawing(limit * np.asarray(upsampled, dtype=np.float64), limit, kind, options)
        overlay = Image.fromarray(_overlay(over, image, options))
        files.append(_picture(field, "overlay", overlay, over, options))
    return files


def _render_values(
    field: str, kind: OutputKind, values: MapValues, image: Image.Image | None, limit: float, options: RenderOptions
) -> list[RenderedFile]:
    del kind, image, limit, options
    return [_raw(field, values)]


Renderer = Callable[[str, OutputKind, MapValues, Image.Image | None, float, RenderOptions], list[RenderedFile]]
RENDERERS: dict[OutputKind, Renderer] = {
    "signed": _render_map,
    "magnitude": _render_map,
    "per_layer": _render_layer,
    "values": _render_values,
}
"""What draws each kind of output. A kind joins with the first method that yields it."""


def _plane(values: MapValues, kind: OutputKind, options: RenderOptions) -> Plane:
    """What is drawn: the sum over channels, cut to one sign where only one is wanted."""
    plane: Plane = values.sum(axis=0, dtype=np.float64)
    if not np.isfinite(plane).all():
        raise ValueError("a map holds values that are not finite: it cannot be drawn, and should not be stored")
    if kind == "magnitude" or options.polarity == "both":
        return plane
    return np.maximum(plane if options.polarity == "positive" else -plane, 0.0)


def _limit(plane: Plane, percentile: float) -> float:
    strengths = np.abs(plane)
    # A sparse map can have zero at its percentile and still something to show.
    return float(np.percentile(strengths, percentile)) or float(strengths.max())


def _drawing(plane: Plane, limit: float, kind: OutputKind, options: RenderOptions) -> _Drawing:
    scaled = np.clip(plane, -limit, limit) / (limit or 1.0)
    strength = np.abs(scaled)
    name: Colormap
    if kind != "magnitude" and options.polarity == "both":
        name, ends = options.signed_colormap, (0.0 - limit, limit)
        # Over an image a weak value is transparent; were it pale as well, it could not be seen.
        positions, vivid = 0.5 + scaled / 2, 0.5 + _VIVID * np.sign(scaled)
    else:
        is_negative = kind != "magnitude" and options.polarity == "negative"
        name, ends = options.magnitude_colormap, (0.0, 0.0 - limit if is_negative else limit)
        positions = vivid = strength
    return _Drawing(strength, _levels(positions), _palette(name)[_levels(vivid)], name, ends)


def _levels(positions: Plane) -> Pixels:
    """The levels at positions in [0, 1] of a colour map."""
    return np.rint((_LEVELS - 1) * positions).astype(np.uint8)


def _heatmap(drawing: _Drawing) -> Image.Image:
    """The map in its colours; with a palette, which takes a third of the bytes and of the time."""
    picture = Image.fromarray(drawing.levels)
    picture.putpalette(_palette(drawing.colormap).tobytes())
    return picture


@cache
def _palette(colormap: Colormap) -> Pixels:
    table: Plane = cmap.Colormap(COLORMAPS[colormap]).lut(_LEVELS)
    return np.rint(table[:, :3] * 255).astype(np.uint8)


def _overlay(drawing: _Drawing, image: Image.Image, options: RenderOptions) -> Pixels:
    """The heatmap over the image, fading out where the map is weak; or the image, fading out there itself."""
    shown = image.convert("L") if options.overlay == "grey" else image
    picture = np.asarray(shown.convert("RGB"), dtype=np.float32)
    strength = drawing.strength[..., None].astype(np.float32)
    if options.overlay == "mask":
        blended = picture * (1 - options.opacity * (1 - strength))
    else:
        alpha = options.opacity * strength
        blended = picture * (1 - alpha) + drawing.vivid * alpha
    return np.rint(blended).astype(np.uint8)


def _raw(field: str, values: MapValues) -> RenderedFile:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values, dtype="<f4"), allow_pickle=False)
    return RenderedFile(f"{field}.npy", field, "application/x-npy", buffer.getvalue(), list(values.shape))


def _picture(
    field: str, quantity: str, picture: Image.Image, drawing: _Drawing, options: RenderOptions
) -> RenderedFile:
    enlarged = _enlarged(picture, options.min_side)
    buffer = io.BytesIO()
    enlarged.save(buffer, format="PNG", compress_level=_COMPRESSION)
    return RenderedFile(
        f"{field}-{quantity}.png",
        quantity,
        "image/png",
        buffer.getvalue(),
        [enlarged.height, enlarged.width],
        drawing.colormap,
        drawing.range,
        field,
    )


def _enlarged(picture: Image.Image, min_side: int) -> Image.Image:
    short, long = sorted(picture.size)
    factor = min(-(-min_side // short), _LONGEST_SIDE // long)
    if factor <= 1:
        return picture
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _require_same_size(values: MapValues, image: Image.Image) -> None:
    height, width = values.shape[-2:]
    if values.ndim != 3 or (image.height, image.width) != (height, width):
        raise ValueError(
            f"a map of shape {list(values.shape)} does not fit an image of {image.height} x {image.width}: "
            "expected (channels, height, width) and the image as the network saw it"
        )
