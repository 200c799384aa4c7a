"""A tiny service and a client of it."""

from collections.abc import Iterator

import pytest

from attribution_client import Client
from tests.attribution_client.tiny_service import TinyService


@pytest.fixture
def service() -> Iterator[TinyService]:
    """A running service that holds nothing yet."""
    with TinyService().running() as service:
        yield service


@pytest.fixture
def client(service: TinyService) -> Iterator[Client]:
    """A client with little patience."""
    with Client(service.url, timeout=5, patience=2) as client:
        yield client
