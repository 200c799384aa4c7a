"""The API's description and the page of its problems, as files: `python -m service.openapi_file` writes them anew."""

import json
import sys
import tempfile
from pathlib import Path

from service.app import create_app
from service.description.problem_texts import page
from storage.settings import Settings

_ROOT = Path(__file__).parents[1]
FILE = _ROOT / "openapi" / "openapi.json"
PROBLEMS_FILE = _ROOT / "docs" / "problems.md"


def render() -> str:
    """The description of this version as it lies in its file."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(data_dir=Path(folder), _env_file=None))
        return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file, text in ((FILE, render()), (PROBLEMS_FILE, page())):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {file}\n")
