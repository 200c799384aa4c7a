"""What the fault tests share: the sizes, and one house for all tests that leave it as they found it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.house import House, open_house


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full-size", action="store_true", help="Run the fault tests with thousands of jobs.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """The small number in the suite, the large one with --full-size."""
    is_full = request.config.getoption("--full-size", default=False)
    return lambda small, full: full if is_full else small


@pytest.fixture(scope="session")
def standing_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("house")) as house:
        house.start(workers=2)
        yield house


@pytest.fixture
def house(standing_house: House) -> Iterator[House]:
    """Two workers and two reconcilers; every job of a test must have ended when the test does."""
    standing_house.supervise()
    yield standing_house
    standing_house.until(lambda: standing_house.count_live() == 0, "the test's jobs end")
