"""A small vision transformer of the pictures with planted evidence, for methods to be held against that evidence."""

from pathlib import Path
from typing import TYPE_CHECKING

from attribution_contracts.models import ModelSpec
from cli.demo import planted
from cli.demo.trainer import trainer

if TYPE_CHECKING:
    from cli.demo.training import Progress, Trained

WEIGHTS = Path(__file__).parent / "weights" / "planted_vit.safetensors"

SPEC: ModelSpec = planted.SPEC.model_copy(update={"name": "planted-vit", "architecture": "small_vit"})
"""How the classifier is registered; its weights are the part `weights` of the body."""


def train(seed: int = 0, progress: "Progress | None" = None) -> "Trained":
    """The classifier after some minutes on one thread, with its accuracy on pictures that it never saw."""
    import torch

    from attribution.architectures import small_vit
    from cli.demo.training import Examples, Recipe, trained

    drawn = planted.examples(range(4800))
    # A transformer does not know that a texture stays what it is when it is turned.
    learned = Examples(torch.cat([drawn.inputs, drawn.inputs.rot90(1, (2, 3))]), drawn.labels.repeat(2))
    held_out = planted.examples(range(planted.HELD_OUT_FROM, planted.HELD_OUT_FROM + 500))
    recipe = Recipe(epochs=4, batch_size=64, learning_rate=2e-3)
    return trained(lambda: small_vit(num_classes=2, side=planted.SIDE), learned, held_out, recipe, seed, progress)


if __name__ == "__main__":
    trainer(lambda progress: train(progress=progress), WEIGHTS)()
