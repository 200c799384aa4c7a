"""What the documents say of the repository is so."""

import re

import pytest

from cli.main import command
from storage.settings import Settings
from tests.house.tree import ROOT, texts

PAGES = {name: text for name, text in texts().items() if name.endswith(".md")}
every_page = pytest.mark.parametrize("name", sorted(PAGES))


@every_page
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)\s]+)\)", PAGES[name]):
        path, _, anchor = target.partition("#")
        linked = (ROOT / name).parent / path
        assert linked.exists(), f"{name} links to {target}"
        if anchor and linked.suffix == ".md":
            headings = re.findall(r"^#+ +(.+)$", linked.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{name} links to {target}"


@every_page
def test_commands_exist(name):
    for line in re.findall(r"(?:`|^|\$ )attribution ([a-z-]+)", PAGES[name], re.MULTILINE):
        assert line in command.commands, f"{name} names the command `attribution {line}`"


@every_page
def test_targets_exist(name):
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^)make ([a-z]+)", PAGES[name], re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name} names `make {target}`"


@every_page
def test_settings_exist(name):
    known = {f"ATTRIBUTION_{field.upper()}" for field in Settings.model_fields}
    others = {
        "ATTRIBUTION_URL",  # of the client
        "ATTRIBUTION_SHARED_DATA",  # of the tests
        *re.findall(r"\$\{(ATTRIBUTION_\w+)", (ROOT / "docker-compose.yml").read_text()),
    }
    named = set(re.findall(r"ATTRIBUTION_[A-Z][A-Z_]*[A-Z]", PAGES[name]))
    assert named <= known | others
