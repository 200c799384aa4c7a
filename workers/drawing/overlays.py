"""A map over an image: readable on black as on white, and where it belongs."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates

from attribution.networks.lattices import Lattice, shared_out
from attribution_contracts.render import RenderOptions
from workers.drawing.colormaps import Pixels, Plane, palette
from workers.drawing.planes import Colours
from workers.images.preprocessing import View

_LONGEST_SIDE = 2048  # of a photograph that is drawn on
_BELOW_DIVERGING, _BELOW_SEQUENTIAL = (90, 190), (13, 128)
"""Darkest and brightest grey of the photograph below a map: light below one whose zero is nearly white, dark below one
whose zero is dark. So no place is far from the colour of zero, and none of the photograph competes with the map's."""
_CHECKS = 28
"""Squares on the shorter side of the pattern that stands for nothing."""
_CHECKERED = (176, 208)
_OUTSIDE = 128
"""Grey that the photograph fades to where the network saw nothing of it."""

Box = tuple[float, float, float, float]
Shades = NDArray[np.float32]


class Scene(NamedTuple):
    """What a map is drawn over."""

    seen: Image.Image
    """The image as the network saw it."""
    view: View
    """Which part of the photograph that is."""
    photograph: Callable[[], Image.Image]
    """All of it, upright; called where it is drawn on."""


class Laid(NamedTuple):
    """A map laid over an image."""

    picture: Image.Image
    box: Box
    """Where in the picture the network's input lies: left, top, right, bottom."""


def laid_over(plane: Plane, lattice: Lattice | None, scene: Scene, colours: Colours, options: RenderOptions) -> Laid:
    """A plane of values in [-1, 1] over the image, each value where it belongs.

    Args:
        plane: `(height, width)`, of the image or of a layer.
        lattice: Where its units lie in the network's input; without one it is stretched over it.
        scene: The image.
        colours: Of the plane.
        options: What lies below, and how it shows through.
    """
    photograph, box = _on_the_photograph(scene) if options.overlay == "original" else _on_what_was_seen(scene)
    rows, columns = _inside(box[1], box[3], photograph.height), _inside(box[0], box[2], photograph.width)
    picture = _below(photograph, colours, options)
    inside = picture[rows, columns]
    values = _sampled(plane, lattice, scene.seen, box, (rows, columns))
    faded = picture + (_OUTSIDE - picture) / 2 if inside.size < picture.size else picture.copy()
    faded[rows, columns] = (
        _masked(values, inside, options) if options.overlay == "mask" else _coloured(values, inside, colours, options)
    )
    return Laid(Image.fromarray(np.rint(faded).astype(np.uint8)), box)


def _below(photograph: Image.Image, colours: Colours, options: RenderOptions) -> Shades:
    """The photograph as it lies below the map: of few shades, and without colours unless they are asked for."""
    if options.overlay == "mask":
        return np.asarray(photograph, dtype=np.float32)
    shown = photograph if options.overlay == "color" else photograph.convert("L").convert("RGB")
    darkest, brightest = _BELOW_DIVERGING if colours.is_diverging else _BELOW_SEQUENTIAL
    return darkest + np.asarray(shown, dtype=np.float32) * np.float32((brightest - darkest) / 255)


def _on_what_was_seen(scene: Scene) -> tuple[Image.Image, Box]:
    return scene.seen.convert("RGB"), (0.0, 0.0, scene.seen.width, scene.seen.height)


def _on_the_photograph(scene: Scene) -> tuple[Image.Image, Box]:
    """The photograph, as large as it takes to show the map whole, within bounds; and the box in its pixels."""
    photograph, (left, top, right, bottom) = scene.photograph().convert("RGB"), scene.view.box
    wanted = max(1.0, scene.seen.width / (right - left), scene.seen.height / (bottom - top))
    factor = min(wanted, _LONGEST_SIDE / max(photograph.size))
    size = tuple(max(1, round(side * factor)) for side in photograph.size)
    if size != photograph.size:
        photograph = photograph.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    across, down = size[0] / scene.view.original[1], size[1] / scene.view.original[0]
    return photograph, (left * across, top * down, right * across, bottom * down)


def _inside(start: float, stop: float, side: int) -> slice:
    """The pixels of a side whose centres lie between start and stop."""
    return slice(max(0, int(np.ceil(start - 0.5))), min(side, int(np.ceil(stop - 0.5))))


def _sampled(plane: Plane, lattice: Lattice | None, seen: Image.Image, box: Box, where: tuple[slice, slice]) -> Shades:
    """The plane's value at each pixel inside: between the centres of units in proportion, at the border the nearest."""
    sides = (seen.height, seen.width)
    lattice = lattice or shared_out(plane.shape, sides)
    places = []
    for axis, pixels in enumerate(where):
        start, stop = box[1 - axis], box[3 - axis]
        at = (np.arange(pixels.start, pixels.stop) + 0.5 - start) * (sides[axis] / (stop - start))
        places.append((at - lattice.start[axis]) / lattice.stride[axis])
    found: Shades = map_coordinates(plane, np.meshgrid(*places, indexing="ij"), np.float32, order=1, mode="nearest")
    return found


def _coloured(values: Shades, below: Shades, colours: Colours, options: RenderOptions) -> Shades:
    """The colours of a map over an image, transparent where it is weak.

    Each value has its colour of the colour bar, and lies the more opaque the further it is from zero, fast at first:
    what of the photograph comes through makes it darker or lighter, and no other colour.
    """
    ink = palette(colours.colormap)[colours.levels(values.astype(np.float64))]
    strength = np.abs(values)
    alpha = np.float32(options.opacity) * (strength * (2 - strength))[..., None]
    blended: Shades = below * (1 - alpha) + ink * alpha
    return blended


def _masked(values: Shades, below: Shades, options: RenderOptions) -> Shades:
    """The image where the map is strong; elsewhere it fades into checks, which no black image can be taken for."""
    alpha = np.float32(options.opacity) * (1 - np.abs(values))[..., None]
    blended: Shades = below * (1 - alpha) + _checks(values.shape[0], values.shape[1])[..., None] * alpha
    return blended


def _checks(height: int, width: int) -> Pixels:
    side = max(1, min(height, width) // _CHECKS)
    rows, columns = np.arange(height)[:, None] // side, np.arange(width)[None] // side
    return np.where((rows + columns) % 2, *_CHECKERED).astype(np.uint8)
