"""Python client of the service: submit images, wait with progress, fetch maps."""

from client.client import Client
from client.errors import (
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
