from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import make_url

from storage.settings import Settings
from storage.urls import with_password

DATABASE_URL = "postgresql+psycopg://attribution@postgres:5432/attribution"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTRIBUTION_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("ATTRIBUTION_DATABASE_URL", DATABASE_URL)
    monkeypatch.setenv("ATTRIBUTION_BROKER_URL", "redis://redis:6379/0")
    return tmp_path


def test_passwords_from_files_enter_the_urls(folder: Path) -> None:
    (folder / "attribution_database_password").write_text("p@ss/w:rd%\n")
    (folder / "attribution_broker_password").write_text("plain")
    settings = Settings()
    url = make_url(settings.resolved_database_url)
    assert (url.username, url.password, url.host, url.port) == ("attribution", "p@ss/w:rd%", "postgres", 5432)
    assert settings.broker_url is not None
    assert settings.broker_url.get_secret_value() == "redis://:plain@redis:6379/0"
    assert "p@ss" not in repr(settings)
    assert "plain" not in repr(settings)


def test_a_variable_wins_over_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "attribution_broker_password").write_text("file")
    monkeypatch.setenv("ATTRIBUTION_BROKER_PASSWORD", "variable")
    password = Settings().broker_password
    assert password is not None
    assert password.get_secret_value() == "variable"


def test_an_empty_password_is_refused(folder: Path) -> None:
    (folder / "attribution_broker_password").write_text("\n")
    with pytest.raises(ValidationError, match="broker_password"):
        Settings()


def test_a_missing_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTRIBUTION_SECRETS_DIR", "/nowhere/at/all")
    with pytest.raises(ValidationError, match="secrets_dir"):
        Settings()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://redis", "redis://:new@redis"),
        ("redis://user@redis:1/2?x=y", "redis://user:new@redis:1/2?x=y"),
        ("redis://:own@redis", "redis://:own@redis"),
        ("redis+socket:///run/broker.sock", "redis+socket:///run/broker.sock"),
        ("sqlite:////data/ledger.sqlite", "sqlite:////data/ledger.sqlite"),
        ("postgresql://[::1]:5432/name", "postgresql://:new@[::1]:5432/name"),
    ],
)
def test_a_password_enters_only_where_there_is_none(url: str, expected: str) -> None:
    assert with_password(url, "new") == expected
