"""Real weights and images that lie beside the checkout during development."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("ATTRIBUTION_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


def shared_data(relative: str) -> Path:
    """A file of the development data; the test is skipped where it is absent."""
    path = ROOT / relative
    if not path.exists():
        pytest.skip(f"the development data has no {relative} (looked in {ROOT})")
    return path
