"""What a worker's check found of a model, in words; what speaks against it is told wherever somebody relies on it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from attribution_contracts.models import ModelReport

if TYPE_CHECKING:
    from attribution_client import Client


def found(report: ModelReport) -> dict[str, object]:
    """The summary of a report, by field."""
    applies = [name for name, method in report.methods.items() if method.applies]
    refused: dict[str, list[str]] = {}
    for name, method in report.methods.items():
        if not method.applies:
            refused.setdefault(str(method.reason), []).append(name)
    noted = [f"{check.name} {check.verdict}: {check.detail}" for check in report.checks if check.verdict != "right"]
    return {
        "parameters": f"{report.parameters:,}",
        "probabilities": report.link,
        "layers": f"{len(report.layers)}: see them with --json",
        "methods": ", ".join(applies),
        "default method": report.default and f"{report.default.method}: {report.default.reason}",
        "do not apply": "\n".join(f"{', '.join(names)}: {reason}" for reason, names in refused.items()),
        "checks": "\n".join(noted) or "all right",
        "warnings": "\n".join(report.warnings),
    }


def told_of(client: "Client", name: str) -> list[str]:
    """The warnings of a version that is ready, what its check let pass among them."""
    return client.model_report(name).warnings


def tell(warnings: Iterable[str]) -> None:
    """Prints warnings on standard error, one a line."""
    for text in warnings:
        click.secho(f"warning: {text}", fg="yellow", err=True)
