"""Options that several commands share."""

import logging
from pathlib import Path
from typing import Any

import click

from storage.settings import Settings

url_option = click.option(
    "--url",
    envvar="ATTRIBUTION_URL",
    default="http://127.0.0.1:8000",
    show_default=True,
    help="Address of the service; also ATTRIBUTION_URL.",
)


def load_settings(**given: Any) -> Settings:
    """Settings from the environment, with the options that were given on the command line."""
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpcore", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return settings


def labels_of(text: str) -> list[str]:
    """Class names between commas, or from a file with one a line."""
    path = Path(text)
    if path.is_file():
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [label.strip() for label in text.split(",")]
