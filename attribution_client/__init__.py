"""Python client of the service: submit images, wait with progress, fetch maps."""

from attribution_client.client import Client
from attribution_client.errors import (
    ClientError,
    CorruptArtifact,
    JobFailed,
    ProblemError,
    ServiceUnreachable,
    UnexpectedAnswer,
)

__all__ = [
    "Client",
    "ClientError",
    "CorruptArtifact",
    "JobFailed",
    "ProblemError",
    "ServiceUnreachable",
    "UnexpectedAnswer",
]
