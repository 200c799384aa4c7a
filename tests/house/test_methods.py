"""A method is complete: engine, parameters, table, documentation and tests."""

import doctest
import importlib
import inspect
import re

import pytest

import attribution
from attribution_contracts.methods import METHODS
from tests.house.tree import ROOT
from workers.methods.table import METHODS as TABLE

EXPLAINING = sorted(name for name, params in METHODS.items() if params.has_engine)
SECTIONS = ("Args:", "Returns:", "Raises:", "Cost:", "Source:")
GUARANTEES = ("exact", "unbiased", "heuristic")
every_method = pytest.mark.parametrize("method", EXPLAINING)


def test_there_are_methods():
    assert "integrated_gradients" in EXPLAINING


def test_the_workers_table_has_every_method_and_no_other():
    assert sorted(TABLE) == EXPLAINING


@every_method
def test_parameters_and_table_agree(method):
    assert TABLE[method].params is METHODS[method]
    assert METHODS[method].model_fields["method"].annotation.__args__ == (method,)
    assert TABLE[method].outputs


@every_method
def test_the_engine_has_one_public_function_of_that_name(method):
    module = importlib.import_module(f"attribution.methods.{method}")
    own = [
        name
        for name, found in inspect.getmembers(module, inspect.isfunction)
        if found.__module__ == module.__name__ and not name.startswith("_")
    ]
    assert own == [method]
    assert getattr(attribution, method) is getattr(module, method)
    first, second, *_ = inspect.signature(getattr(module, method)).parameters
    assert first == "network"
    assert (second == "inputs") == (METHODS[method].takes == "images")


@every_method
def test_the_engines_docstring_says_everything(method):
    function = getattr(attribution, method)
    lines = [line.strip() for line in inspect.getdoc(function).splitlines()]
    missing = [section for section in SECTIONS if section not in lines]
    assert not missing
    documented = set(re.findall(r"^    (\w+):", inspect.getdoc(function), re.MULTILINE))
    assert set(inspect.signature(function).parameters) <= documented


@every_method
def test_the_engine_shows_an_example_that_runs(method):
    module = importlib.import_module(f"attribution.methods.{method}")
    [found] = doctest.DocTestFinder(recurse=False).find(getattr(attribution, method), module=module)
    assert found.examples


@every_method
def test_the_catalogue_says_what_it_guarantees_and_costs(method):
    params = METHODS[method]
    assert params.__doc__
    assert params.guarantee.startswith(GUARANTEES)
    assert params.cost_class
    assert params.version >= 1


@every_method
def test_it_is_documented_and_the_readme_leads_there(method):
    page = (ROOT / "docs" / "methods" / f"{method}.md").read_text()
    missing = [name for name in METHODS[method].model_fields if f"`{name}`" not in page]
    assert not missing, f"docs/methods/{method}.md does not explain {', '.join(missing)}"
    assert f"(docs/methods/{method}.md)" in (ROOT / "README.md").read_text()


@every_method
def test_it_is_tested(method):
    tests = (ROOT / "tests" / "attribution" / "methods").glob(f"test_{method}*.py")
    assert any("def test_" in path.read_text() for path in tests)


def test_every_file_of_the_engines_methods_is_registered():
    files = {path.stem for path in (ROOT / "attribution" / "methods").glob("*.py")} - {"__init__"}
    assert files == set(EXPLAINING)
