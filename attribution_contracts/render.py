"""How heatmaps are drawn."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from attribution_contracts.base import Wire

SignedColormap = Literal["red_blue", "purple_green", "brown_teal"]
MagnitudeColormap = Literal["viridis", "inferno", "grey"]


class RenderOptions(Wire):
    """Colours, clipping and overlay of the PNGs; the raw maps stay as they are."""

    polarity: Literal["both", "positive", "negative"] = "both"
    """Which sign of a signed map is drawn."""
    signed_colormap: SignedColormap = "red_blue"
    """Diverging map, centred on zero, of signed values."""
    magnitude_colormap: MagnitudeColormap = "viridis"
    """Sequential map of magnitudes, and of a signed map drawn with one polarity."""
    clip_percentile: Annotated[float, Field(gt=50, le=100, strict=True)] = 98.0
    """Values beyond this percentile of the absolute values are drawn at the end of the scale."""
    smooth: Literal["auto"] | Annotated[float, Field(ge=0, le=64, strict=True)] = "auto"
    """Standard deviation, in pixels of the map, of a Gaussian that maps of pixels are drawn with; 0 for none. `auto`
    is none up to 32 pixels and grows with the shorter side: 1.2 pixels at 64, 3 at 224. Maps of layers are never
    smoothed."""
    overlay: Literal["none", "original", "color", "grey", "mask"] = "grey"
    """A second PNG: over the whole photograph as it was sent, in grey; over the image as the network saw it, in its
    colours or in grey; or that image shown only where the map is strong."""
    opacity: Annotated[float, Field(ge=0, le=1, strict=True)] = 0.75
    """How opaque the heatmap lies over the image at the end of its scale; it fades to nothing at zero."""
    scale: Literal["job", "image"] = "job"
    """One scale for every map of the job, so that they can be compared, or one for each."""
    legend: StrictBool = False
    """Whether class, method, colour bar and values are written above and below the map, inside the PNG."""
    min_side: Annotated[int, Field(ge=1, le=2048, strict=True)] = 224
    """Maps smaller than this are enlarged by a whole factor, each pixel a square."""
