import re

from sqlalchemy import Engine, text

from storage.database import reading
from tests.deploy.files import ROOT
from tests.deploy.settings_table import BETWEEN, GUIDE, table


def test_the_table_of_settings_is_the_current_one():
    found = BETWEEN.search(GUIDE.read_text())
    assert found
    assert found[0] == table(), "run `python -m tests.deploy.settings_table`"


def test_the_queries_of_the_guide_run(engine: Engine):
    blocks = re.findall(r"^```sql\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    statements = [statement for block in blocks for statement in block.split(";") if statement.strip()]
    assert len(statements) == 3
    with reading(engine) as connection:
        assert [connection.execute(text(statement)).one()[0] for statement in statements] == [0, 0, 0]


def test_the_secrets_that_the_guide_makes_are_those_that_compose_mounts():
    made = set(re.findall(r"> secrets/(\w+)$", GUIDE.read_text(), re.MULTILINE))
    mounted = set(re.findall(r"^  (attribution_\w+):$", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE))
    assert made == mounted
