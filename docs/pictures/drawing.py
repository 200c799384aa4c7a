"""What the drawings have in common: colour scales, layouts, files."""

import sys
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

FOLDER = Path(__file__).parent
DPI = 100
PERCENTILE = 99
LEVELS = 33  # of each colour scale: few enough to leave a PNG's palette to the photographs
SIGNED, MAGNITUDE = (mpl.colormaps[name].resampled(LEVELS) for name in ("RdBu_r", "inferno"))

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float64]


def start_drawing() -> None:
    """Figures in memory, and one thread, so that the same figures come out again."""
    mpl.use("Agg")
    mpl.rcParams.update({"figure.dpi": DPI, "axes.linewidth": 0.5})
    torch.set_num_threads(1)


def plane(values: torch.Tensor) -> Plane:
    """The sum over channels of the only image."""
    summed: Plane = values[0].double().sum(0).numpy()
    return summed


def limit(values: Plane) -> float:
    """Where the colour scale ends."""
    strengths = np.abs(values)
    return float(np.percentile(strengths, PERCENTILE)) or float(strengths.max()) or 1.0


def close_together() -> ConstrainedLayoutEngine:
    """A layout with little between the pictures."""
    return ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)


def save(figure: Figure, name: str) -> None:
    """Writes a PNG with a palette: a third of the bytes."""
    written = BytesIO()
    figure.savefig(written, format="png")
    path = FOLDER / name
    Image.open(written).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    plt.close(figure)
    sys.stdout.write(f"{path.stat().st_size:,} bytes in {path.name}\n")
