"""A folder holds the files of one job: what an earlier one left there goes before another's are written."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from attribution_client.errors import CorruptArtifact
from attribution_contracts.results import ArtifactRef, Result

PAGE = "sheet.html"
"""The page of a job, beside its files."""
_RESULT = "result.json"
_UNFINISHED = "result.json.part"
"""The result while its files are written: it becomes `result.json` once all are there."""


def write_files(
    result: Result, folder: Path, content: Callable[[ArtifactRef], bytes], replaced: Callable[[str], object]
) -> list[Path]:
    """Writes the files of a result, then the result itself; those that an earlier job's result names are removed.

    Raises:
        CorruptArtifact: A name is no plain file name.
        FileExistsError: There is a `result.json` that is none: it is somebody's.
    """
    files = result.files()
    written = [folder / _plain(name) for name, _ in files]
    folder.mkdir(parents=True, exist_ok=True)
    for job in _cleared(result.job, folder):
        replaced(job)
    unfinished = folder / _UNFINISHED
    unfinished.write_text(result.model_dump_json(indent=2), encoding="utf-8")
    for path, (_, reference) in zip(written, files, strict=True):
        path.write_bytes(content(reference))
    unfinished.replace(folder / _RESULT)
    return written


def _cleared(job: str, folder: Path) -> Iterator[str]:
    """Removes the files of other jobs, and yields the jobs.

    A result goes after the files that it names, so that what is interrupted here is gone on with the next time.
    """
    earlier = [(path, _read(path)) for path in (folder / _RESULT, folder / _UNFINISHED) if path.exists()]
    for path, result in earlier:
        if result.job == job:
            continue
        for name in _names(result):
            if (folder / name).is_symlink() or (folder / name).is_file():
                (folder / name).unlink()
        path.unlink()
        yield result.job


def _names(result: Result) -> Sequence[str]:
    """The files of a result; none outside the folder, whatever it says."""
    page = [] if result.page is None else [PAGE]
    return [name for name, _ in result.files() if _is_plain(name)] + page


def _read(path: Path) -> Result:
    try:
        # What a later or earlier version says beside is not looked at.
        return Result.model_validate_json(path.read_bytes(), extra="ignore")
    except (OSError, ValidationError) as error:
        raise FileExistsError(
            f"{path} is no result of a job that this program can read, and would be overwritten: move it away, or "
            "choose another folder"
        ) from error


def _plain(name: str) -> str:
    if not _is_plain(name):
        raise CorruptArtifact(f"{name!r} is no plain file name: it could be written outside the folder")
    return name


def _is_plain(name: str) -> bool:
    return name not in {"", ".", ".."} and not {"/", "\\"} & set(name)
