"""The scores as a table for a terminal."""

from rich import box
from rich.table import Table

from cli.demo.engines import SHOWN
from cli.demo.run import Explained, Section
from workers.drawing.words import percent


def table(section: Section) -> Table:
    """One row for each image."""
    columns = ["image", "prediction", "probability"]
    compares = any(explained.image.class_variation for explained in section.pictures)
    columns += ["classes\nvary by", "attributed"] if compares else ["completeness\nerror", "steps"]
    has_evidence = any(explained.evidence for explained in section.pictures)
    if has_evidence:
        columns += ["in\nevidence", "its\narea"]
    title = f"{section.exhibit.title}: {SHOWN[section.method].title.lower()}"
    made = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in made.columns[2:]:
        column.justify = "right"
    for explained in section.pictures:
        figures = _variation(explained) if compares else _completeness(explained)
        made.add_row(*_row(explained), *figures, *(_evidence(explained) if has_evidence else []))
    return made


def _row(explained: Explained) -> list[str]:
    name = explained.picture.name
    if explained.image.error is not None:
        return [name, f"[red]{explained.image.error.detail}[/red]", ""]
    best = explained.image.prediction[0]
    return [
        name,
        f"[{'green' if explained.is_right else 'red'}]{best.name}[/]",
        percent(best.probability),
    ]


def _completeness(explained: Explained) -> list[str]:
    error = explained.completeness
    return [percent(error.relative, 2), str(error.n_steps)] if error else ["-", "-"]


def _variation(explained: Explained) -> list[str]:
    found = explained.image.class_variation
    return [f"{found.class_variation:.3g}", f"{found.attributed_variation:.3g}"] if found else ["-", "-"]


def _evidence(explained: Explained) -> list[str]:
    score = explained.evidence
    return [percent(score.share), percent(score.area)] if score else ["-", "-"]
