"""Where things are, without passwords."""

from pathlib import Path

import pytest

from storage.addresses import places, shown
from storage.settings import Settings


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://user:swordfish@host:5432/name?password=swordfish", "postgresql://user@host:5432/name"),
        ("postgresql://user:sword?fi/s@h@host/name", "postgresql://user@host/name"),
        ("redis://:swordfish@host:6379/0", "redis://host:6379/0"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("/srv/attribution/artifacts", "/srv/attribution/artifacts"),
    ],
)
def test_a_url_is_shown_without_its_password(url, said):
    assert shown(url) == said


def test_the_places_of_a_process_are_one_line_without_secrets():
    settings = Settings(
        data_dir=Path("/srv/attribution"),
        database_url="postgresql://user@host/name",
        database_password="swordfish",
        broker_url="redis://:swordfish@host/0",
    )
    assert places(settings) == (
        "ledger postgresql://user@host/name, artefact store /srv/attribution/artifacts, broker redis://host/0"
    )
    assert "ledger SQLite /srv/attribution/ledger.sqlite, " in places(Settings(data_dir=Path("/srv/attribution")))
