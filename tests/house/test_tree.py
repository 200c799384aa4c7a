"""What holds of every file."""

import re
import statistics
import subprocess
from importlib.metadata import entry_points

import pytest

from attribution_contracts import queue as tasks
from attribution_contracts.version import VERSION
from tests.house.tree import PACKAGES, ROOT, files, modules, texts

# Written in pieces, so that this file passes its own tests.
UNFINISHED = re.compile(r"\b(" + "TO" + "DO|FIX" + r"ME)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.~}-])/(work|root|home|Users)/" + r"\w")
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("deb", "debian", "org"),
        ("download", "pytorch", "org"),
        ("conda", "anaconda", "org"),
    )
]
LARGEST_BYTES = 2**20
TARGETS = ["help", "demo", "serve", "test", "check", "faults", "bench", "conformance", "openapi", "fmt", "clean"]


@pytest.fixture(scope="module")
def committed() -> dict[str, str]:
    return texts()


def where(pattern: re.Pattern[str], committed: dict[str, str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in committed.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_the_patterns_find_what_they_should():
    assert UNFINISHED.search("# TO" + "DO: later")
    assert MACHINE_PATHS.search("see /ro" + "ot/x")
    assert not MACHINE_PATHS.search("https://example.com/home/x and target=~/home/x")


def test_nothing_is_left_unfinished(committed):
    assert not where(UNFINISHED, committed)


def test_no_path_of_a_machine_stands_in_a_file(committed):
    containers = {"Dockerfile.gpu"}  # its caches lie where root lives inside of the build
    assert not where(MACHINE_PATHS, {name: text for name, text in committed.items() if name not in containers})


def test_no_registry_is_named(committed):
    assert not where(re.compile("|".join(map(re.escape, REGISTRIES))), committed)


def test_files_are_small_enough_for_a_repository():
    assert not [str(path) for path in files() if path.stat().st_size > LARGEST_BYTES]


def test_modules_are_small():
    lengths = {name: text.count("\n") for name, text in modules().items()}
    assert {name.split("/")[0] for name in lengths} == set(PACKAGES)
    assert not {name: lines for name, lines in lengths.items() if lines > 400}
    assert statistics.median(lines for lines in lengths.values() if lines) < 150


def test_the_licence_is_there():
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "Version 2.0, January 2004" in licence


def test_the_console_command_is_ours_and_loads():
    [command] = entry_points(group="console_scripts", name="attribution")
    assert command.value == "cli.main:main"
    assert callable(command.load())


def test_the_version_is_one():
    from importlib.metadata import version

    assert version("attribution-service") == VERSION
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert {VERSION, "Unreleased"} & set(headings[:2])


def test_names_that_publishers_and_workers_agreed_on_stay():
    # A worker of the last release must understand a gateway of this one: change these only with both in mind.
    assert (tasks.RUN_JOBS, tasks.QUEUE, tasks.KEY_PREFIX) == ("attribution.run_jobs", "attribution", "attribution:")


@pytest.mark.parametrize("target", TARGETS)
def test_make_help_lists_what_can_be_made(target):
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(rf"^ *make {target} +\w", shown, re.MULTILINE)


def test_every_decision_record_says_why_what_and_what_follows():
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [record.name[:4] for record in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for record in records:
        text = record.read_text()
        for section in ("## Context", "## Decision", "## Consequences"):
            assert section in text, f"{record.name} lacks {section}"
