"""Writes the table of settings into docs/deploy.md: `python -m tests.deploy.settings_table`."""

import re
from typing import Any

from pydantic.fields import FieldInfo

from storage.settings import Settings
from tests.deploy.files import ROOT

GUIDE = ROOT / "docs" / "deploy.md"
BETWEEN = re.compile(r"(?<=<!-- settings -->\n).*(?=<!-- /settings -->)", re.DOTALL)


def table() -> str:
    """The settings as a table in Markdown, in the order of their definition."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    return "| variable | default | meaning |\n|---|---|---|\n" + "".join(rows)


def _row(name: str, field: FieldInfo) -> str:
    return f"| `ATTRIBUTION_{name.upper()}` | {_default(field.default)} | {field.description} |\n"


def _default(value: Any) -> str:
    if value is None or value == ():
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    GUIDE.write_text(BETWEEN.sub(table(), GUIDE.read_text()))
