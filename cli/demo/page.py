"""The page: one file that opens anywhere, with every picture inside."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from cli.demo.engines import RENDER, SHOWN, Engine, Shown
from cli.demo.looks import Looked
from cli.demo.run import Explained, Section
from cli.demo.scores import EvidenceScore
from workers.drawing.pages import address, gradient, template

_OUTLINE_SCALE = 6
_OUTLINE_WIDTH = 5


class Legend(NamedTuple):
    """A colour bar and the values at its ends."""

    gradient: str
    """Colours for a CSS gradient."""
    ends: tuple[float, float]


def write_page(sections: list[Section], path: Path, service: str, looks: Sequence[Looked] = ()) -> Path:
    """Writes the page for the sections and looks; `service` is the address in the commands that it shows."""
    rendered = template("cli.demo", "page.html").render(
        sections=sections,
        looks=looks,
        engines=SHOWN,
        facts=_facts(sections),
        command=lambda section: _command(section, path.parent, service),
        legend=_legend,
        pictures_of=_pictures,
        embedded=_embedded,
        outlined=_outlined,
    )
    path.write_text(rendered, encoding="utf-8")
    return path


def _facts(sections: list[Section]) -> dict[str, Any]:
    """What the top of the page says about all of it."""
    shown = [explained for section in sections for explained in section.pictures]
    images = {
        explained.original: explained
        for section in sections
        if section.exhibit.is_sample
        for explained in section.pictures
    }
    errors = [
        item.completeness.relative for item in shown if item.completeness and item.completeness.relative is not None
    ]
    scores = {section.method: _mean_scores(section) for section in sections if _mean_scores(section)}
    return {
        "images": len(images),
        "right": sum(item.is_right for item in images.values()),
        "worst_error": max(errors, default=None),
        "evidence": scores,
    }


def _mean_scores(section: Section) -> EvidenceScore | None:
    scores = [item.evidence for item in section.pictures if item.evidence]
    if not scores:
        return None
    return EvidenceScore(*(float(np.mean(column)) for column in zip(*scores, strict=True)))


def _pictures(explained: Explained, engine: Engine, subject: str) -> list[tuple[str, Path, str, str]]:
    """Caption, file, description and kind (`image`, `map` or `chart`) of each picture of an image."""
    label = explained.picture.label
    shown = [] if engine.is_wide else [("image", explained.original, f"Image of the class {label}", "image")]
    for what in engine.shown:
        path = explained.files.get((what.of, what.quantity))
        if path is not None:
            kind = "chart" if what.of is None else "map"
            shown.append((what.caption, path, f"{_manner(what)} of {engine.title} for {subject}", kind))
    return shown


def _manner(what: Shown) -> str:
    if what.of is None:
        return what.caption.capitalize()
    return f"{'Heatmap' if what.quantity == 'heatmap' else 'Heatmap over the grey image'} ({what.of})"


def _legend(section: Section, of: str) -> Legend | None:
    """The colour bar of the heatmaps of a quantity, which have one scale."""
    reference = next(filter(None, (explained.reference(of) for explained in section.pictures)), None)
    if reference is None or reference.colormap is None or reference.range is None:
        return None
    return Legend(gradient(reference.colormap), reference.range)


def _command(section: Section, folder: Path, service: str) -> str:
    """The command that computes the first map of a section again."""
    first = section.pictures[0]
    model = section.job.model
    request = {
        "model": f"{model.name}@{model.version}" if model else None,
        "inputs": [{"part": "image", "label": first.picture.label}],
        **section.asked,
        "render": RENDER,
        "seed": section.result.provenance.seed,
    }
    lines = [
        f"curl -sS {service}/v1/jobs -H 'Prefer: wait=30'",
        f"-F 'request={json.dumps(request)}'",
        f"-F image=@{first.original.relative_to(folder).as_posix()}",
    ]
    return " \\\n  ".join(lines)


def _embedded(path: Path) -> str:
    """A PNG as an address that holds it."""
    return address(path.read_bytes())


def _outlined(evidence: NDArray[np.bool_]) -> str:
    """The outline of the evidence, black outside and white inside, as a picture to lie over the others."""
    mask = Image.fromarray(np.kron(evidence, np.full((_OUTLINE_SCALE, _OUTLINE_SCALE), 255, dtype=np.uint8)))
    inside = np.asarray(mask) > 0
    grown = np.asarray(mask.filter(ImageFilter.MaxFilter(_OUTLINE_WIDTH))) > 0
    shrunk = np.asarray(mask.filter(ImageFilter.MinFilter(_OUTLINE_WIDTH))) > 0
    outline = np.zeros((*inside.shape, 4), dtype=np.uint8)
    outline[grown & ~inside] = (0, 0, 0, 255)
    outline[inside & ~shrunk] = (255, 255, 255, 255)
    buffer = io.BytesIO()
    Image.fromarray(outline).save(buffer, format="PNG")
    return address(buffer.getvalue())
