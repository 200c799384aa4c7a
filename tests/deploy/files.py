"""The deployment's files, read the way their tools read them."""

import re
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
OWN_IMAGE = "attribution-"


class Instruction(NamedTuple):
    """One instruction of a Dockerfile."""

    name: str
    argument: str


class Stage(NamedTuple):
    """One stage of a Dockerfile: its name, what it builds on, and its instructions."""

    name: str
    base: str
    instructions: list[Instruction]

    def all(self, name: str) -> list[str]:
        return [argument for found, argument in self.instructions if found == name]


def dockerfile() -> dict[str, Stage]:
    """The stages of Dockerfile.gpu by name."""
    text = (ROOT / "Dockerfile.gpu").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    stages: dict[str, Stage] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, argument = line.split(None, 1)
        if name == "FROM":
            base, _, stage = argument.partition(" AS ")
            stages[stage] = current = Stage(stage, base, [])
        elif stages:
            current.instructions.append(Instruction(name, argument))
    return stages


def lineage(name: str) -> list[Stage]:
    """A stage and what it builds on, the stage first."""
    stages = dockerfile()
    stage = stages[name]
    return [stage, *(lineage(stage.base) if stage.base in stages else [])]


def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors merged; variables stay as they are written."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def services() -> dict[str, dict[str, Any]]:
    """The services of docker-compose.yml by name."""
    return compose()["services"]


class Locked(NamedTuple):
    """One package of a lock file."""

    name: str
    version: str
    hashes: int


def locked(name: str) -> list[Locked]:
    """The packages of a lock file; a line that is none fails."""
    lines = (ROOT / "requirements" / name).read_text().replace("\\\n", " ").splitlines()
    return [_package(name, line) for line in lines]


def _package(file: str, line: str) -> Locked:
    found = re.fullmatch(r"([a-z0-9-]+)==(\S+)(?: ; [^\\]*?)?((?: +--hash=sha256:[0-9a-f]{64})+) *", line)
    assert found, f"{file}: no pinned package with hashes: {line[:120]}"
    return Locked(found[1], found[2], found[3].count("--hash="))


def by_name(packages: list[Locked]) -> dict[str, set[str]]:
    """The locked versions of each package: several where they differ by the version of Python."""
    ordered = sorted(packages)
    return {name: {package.version for package in group} for name, group in groupby(ordered, lambda found: found.name)}
