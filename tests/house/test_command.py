"""The command line starts what needs no torch where there is none."""

import subprocess
import sys

import click
import pytest

from cli.main import command
from tests.house.tree import ROOT

PROGRAM = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "numpy", "safetensors", "attribution", "workers", "cmap"}:
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)

sys.meta_path.insert(0, Absent())
from cli.main import main
main()
"""


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("words", ["--help", "gateway --help", "explain --help", "models add --help"])
def test_help_needs_no_torch(words):
    found = run(*words.split())
    assert found.returncode == 0, found.stderr


def test_a_machine_without_torch_can_migrate_and_is_told_what_it_cannot_do(tmp_path):
    there = {"ATTRIBUTION_DATA_DIR": str(tmp_path), "PATH": ""}
    assert run("migrate", **there).returncode == 0
    assert (tmp_path / "ledger.sqlite").exists()
    found = run("worker", **there)
    assert found.returncode != 0


def commands(group: click.Group = command, path: str = "attribution"):
    for name, found in group.commands.items():
        if isinstance(found, click.Group):
            yield from commands(found, f"{path} {name}")
        else:
            yield f"{path} {name}", found


@pytest.mark.parametrize("path", dict(commands()))
def test_help_has_an_example(path):
    found = dict(commands())[path]
    assert f" {path}" in f"{found.help} {found.epilog}"


def groups(group: click.Group = command):
    yield group
    for found in group.commands.values():
        if isinstance(found, click.Group):
            yield from groups(found)


def test_lists_of_commands_are_not_cut_on_a_narrow_terminal():
    for group in groups():
        shown = click.Context(group, terminal_width=80).get_help()
        assert "..." not in shown.partition("Commands:")[2], shown


def test_every_option_says_what_it_is_for():
    silent = [
        f"{path} {option.opts[0]}"
        for path, found in commands()
        for option in found.params
        if isinstance(option, click.Option) and not (option.help or option.opts == ["--method"])
    ]
    assert silent == []


def test_help_has_the_exit_codes():
    assert "Exit codes: 0 done; 1 refused, failed, or not well; 2 wrong usage; 130" in command.help
