"""Which version of a model a job is about."""

from attribution_contracts.base import Sha256, Wire


class ModelIdentity(Wire):
    """The model version that a job is pinned to."""

    name: str
    version: str
    sha256: Sha256
    """Digest of architecture, options, preprocessing, labels and weights together."""
