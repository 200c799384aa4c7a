"""Images that are given as files or as folders of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

IMAGES = (".jpg", ".jpeg", ".png", ".webp")


def images_in(folder: Path) -> list[Path]:
    """The images that lie in a folder itself, by name; hidden files are none."""
    return sorted(
        path
        for path in folder.glob("*")
        if path.suffix.lower() in IMAGES and not path.name.startswith(".") and path.is_file()
    )


def given_images(_context: click.Context, _argument: click.Parameter, given: Sequence[Path]) -> tuple[Path, ...]:
    """The files, and those of folders in their place."""
    return tuple(image for path in given for image in _images_of(path))


def _images_of(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    found = images_in(path)
    if not found:
        within = sorted(below.name for below in path.iterdir() if below.is_dir() and images_in(below))
        hint = f"; its folder {within[0]!r} has some: give that, or {path}/*" if within else ""
        raise click.BadParameter(f"the folder {path} has no {', '.join(IMAGES)} files{hint}")
    yield from found
