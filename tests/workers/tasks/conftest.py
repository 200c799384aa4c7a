"""A data set, another one, and a fit."""

import pytest

from tests.workers.data_sets import FIT, Over


@pytest.fixture
def over(context, classifier):
    return Over(context, classifier)


@pytest.fixture
def held_out(context, classifier):
    """Other images of the same classes."""
    return Over(context, classifier, "held-out", seed=1)


@pytest.fixture
def fit(over):
    """The report of a fit."""
    return over.run(FIT).details["report"]
