"""The command that trains a classifier of the demonstration anew."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cli.demo.training import Progress, Trained


def trainer(train: Callable[["Progress"], "Trained"], weights: Path) -> click.Command:
    """A command that trains, prints the accuracy, and keeps the weights where it is told to."""

    @click.command()
    @click.option("--write", is_flag=True, help=f"Keep the weights as {weights.name}.")
    def main(write: bool) -> None:
        """Trains the classifier and prints its accuracy."""
        import torch

        from cli.demo.training import save

        with click.progressbar(length=1, label="training") as bar:

            def progress(done: int, total: int) -> None:
                bar.length = total
                bar.update(done - bar.pos)

            module, accuracy = train(progress)
        click.echo(f"{accuracy:.1%} of 500 held-out pictures")
        if write:
            save(module, weights, torch.float16)
            click.echo(f"{weights.stat().st_size:,} bytes in {weights}")

    return main
