"""One whole service for the tests of this folder: gateway, worker, reconciler and private broker."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from attribution_client import Client
from cli.demo import digits
from cli.demo.training import Examples, Recipe, save, trained
from tests.e2e.served import Served


@pytest.fixture(scope="session")
def digits_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of `mnist_cnn` after one epoch on real digits: good enough to explain, and quick."""
    from attribution.architectures import mnist_cnn

    learned, unseen = (
        Examples.of(part.images[:, None], part.labels, digits.SPEC.preprocessing)
        for part in (digits.training(), digits.held_out())
    )
    path = tmp_path_factory.mktemp("weights") / "digits.safetensors"
    save(trained(mnist_cnn, learned, unseen, Recipe(epochs=1, learning_rate=3e-3), 0, None).module, path)
    return path


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running service whose operator brings a factory along."""
    folder = tmp_path_factory.mktemp("service")
    config = folder / "attribution.toml"
    config.write_text('[factories]\nmobilenet = "tests.factories:mobilenet_v2_relu"\n')
    served = Served(
        folder / "data",
        ATTRIBUTION_CONFIG_FILE=str(config),
        ATTRIBUTION_DATASET_LOCATIONS=json.dumps([f"file://{tmp_path_factory.getbasetemp()}/datasets"]),
        ATTRIBUTION_LEASE_S="5",
    )
    yield served
    served.close()


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    """A client of that service."""
    with Client(served.url) as client:
        yield client
