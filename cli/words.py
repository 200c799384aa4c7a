"""Errors in the words of the command line: what the service calls by JSON pointers, a person gave as options."""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click
from pydantic import BaseModel, ValidationError

_SHOWN = re.compile(r"(?:expected an? (?:list|object) like|, such as) ([\[{].*?[\]}])(?: \(given: .*)?$", re.DOTALL)
"""A value of JSON that an error shows."""

_BESIDE = re.compile(r"'(\w+)' belongs beside '\w+', not in it")
"""A field that is no parameter of what it was said of, and that may have an option of its own."""

_SAID = {"Field required": "is missing: it has to be said"}
"""What a message of the contract says, in words of a command line."""

Naming = Callable[[Sequence[str]], str | None]
"""The option that stands for the steps of a pointer; None where there is none."""


@contextmanager
def told_in_options(option: Naming, model: type[BaseModel] | None = None) -> Iterator[None]:
    """Tells which options are wrong, where the service or a message of the contract says which fields are.

    Args:
        option: Names the option of a field.
        model: The message of the contract, whose fields are known where another was given.

    Raises:
        UsageError: They are, and nothing was sent.
        ClickException: They are, the service says.
    """
    from attribution_client import ProblemError
    from attribution_contracts.hints import told

    try:
        yield
    except ProblemError as error:
        problem = error.problem
        if not problem.errors:
            raise
        wrong = [(found.pointer, found.detail) for found in problem.errors]
        raise click.ClickException(_text(wrong, option, f"{problem.title} [{problem.code.value}]")) from error
    except ValidationError as error:
        found = [("".join(f"/{step}" for step in item["loc"]), told(item, model=model)) for item in error.errors()]
        raise click.UsageError(
            _text([(where, _SAID.get(text, text)) for where, text in found], option, "not valid")
        ) from error


def _text(wrong: Sequence[tuple[str, str]], option: Naming, title: str) -> str:
    lines = []
    for pointer, detail in wrong:
        steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
        name = option(steps) or pointer
        own = option([found[1]]) if (found := _BESIDE.search(detail)) else None
        instead = f"; say {own}" if own else _said(name, detail)
        lines.append(f"  {name}: {detail}{instead}" if name else f"  {detail}")
    return "\n".join([f"{title}:", *lines])


def _said(name: str, detail: str) -> str:
    """The option as it should be said, where an error shows the value that it expects."""
    option, _, key = name.partition(" ")
    found = _SHOWN.search(detail)
    if found is None or option not in {"--param", "--render"} or not key or " " in key:
        return ""
    return f"; say {option} {shlex.quote(f'{key}={found[1]}')}"


def by_first(options: dict[str, str]) -> Naming:
    """Names options by the first step of the pointer; `{}` stands for the second."""

    def name(steps: Sequence[str]) -> str | None:
        found = options.get(steps[0]) if steps else None
        if found is None or "{}" not in found:
            return found
        return found.format(steps[1]) if len(steps) > 1 else found.replace(" {}", "")

    return name
