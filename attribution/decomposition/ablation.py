"""What a classifier still knows when the features of an image's class are gone, or all the others are."""

import hashlib
from typing import Literal, get_args

import torch

from attribution.checks import require_choice, require_count
from attribution.data_sets.batches import Batches, over_batches
from attribution.decomposition.evaluation import Evaluation, count, empty_evaluation
from attribution.decomposition.influential import Influential, membership, require_indices
from attribution.final_layer.layer import FinalLayer, Precision
from attribution.networks.network import Network
from attribution.noise import row_noise
from attribution.passes.chunks import Progress

Replaced = Literal["influential", "others"]
Noise = Literal["gaussian", "zero"]


def ablate(
    network: Network,
    influential: Influential,
    batches: Batches,
    *,
    replace: Replaced = "influential",
    noise: Noise = "gaussian",
    seed: int = 0,
    precision: Precision = "full",
    n_images: int | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Replaces, in each image, the features of its own class or all others, before the full final layer.

    Args:
        network: The full classifier.
        influential: The features of each class.
        batches: Pairs of images and their classes; the class says which features go.
        replace: ``"influential"`` or ``"others"``.
        noise: What takes their place: ``"gaussian"``, a standard normal number a feature (at all positions the same,
            where the features have positions), or ``"zero"``.
        seed: Of the noise, with the pixels of the image: neither its batch nor its shard changes it.
        precision: ``"full"``, or ``"bfloat16"`` for the passes up to the features, by torch's autocast; faster where
            the device computes in it.
        n_images: Images in all, for the progress.
        chunk_size: Images at once; fitted to memory unless told.
        progress: Called between chunks with images done and ``n_images`` (or 0); may raise to cancel.

    Returns:
        Counts by class, which add up over shards: ``other`` are the images still right.

    Raises:
        InvalidInput: The indices belong to another network.
        InvalidOption: An unknown choice.

    Cost:
        One forward pass and one of the final layer; a digest of each image's pixels.

    Source:
        "Decomposing the Deep", section 5.2.6. Silent on the noise's scale, which is 1 here.
    """  # noqa: DOC502 - the checks that it calls raise them
    require_choice(replace, "replace", get_args(Replaced))
    require_choice(noise, "noise", get_args(Noise))
    require_count(seed, "seed", minimum=0, maximum=2**63 - 1)
    final = FinalLayer(network, precision)
    require_indices(influential.indices, final.n_classes, final.n_features)
    own = membership(influential.indices.to(final.weight.device), final.n_features)
    goes = own if replace == "influential" else ~own
    counts = empty_evaluation(final)

    def work(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        features, logits = final.run(inputs)
        values = final.pooled(features)
        instead = image_noise(values, inputs, seed) if noise == "gaussian" else torch.zeros_like(values)
        changed = torch.where(_spread(goes[labels], features), _spread(instead, features), features)
        count(counts, logits, final.logits(changed), labels)

    over_batches(network, batches, work, n_images=n_images, chunk_size=chunk_size, progress=progress)
    return counts


def image_noise(like: torch.Tensor, inputs: torch.Tensor, seed: int) -> torch.Tensor:
    """Returns standard normal numbers of the shape of ``like``, each row's by the seed and its image's pixels."""
    generators = [torch.Generator().manual_seed(_image_seed(image, seed)) for image in inputs.cpu()]
    return row_noise(torch.randn, like, generators)


def _image_seed(image: torch.Tensor, seed: int) -> int:
    pixels = image.contiguous().view(torch.uint8).numpy()
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=8, salt=seed.to_bytes(8, "little"))
    return int.from_bytes(digest.digest(), "little") >> 1


def _spread(rows: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Returns rows ``(n, d)`` with as many dimensions as the features."""
    return rows.reshape(*rows.shape, *[1] * (features.dim() - 2))
