"""The engine's values against libraries that a test process does not load. Prints one JSON line a claim.

``cam``: raw maps (before any rectifier or scaling) of pytorch-grad-cam on a small residual network in float64.
``segment_shapley``: exact values of nine segments by shap's enumeration. Libraries that are not installed beside the
project (`pip install grad-cam shap`) are left out, and named. With ``--print`` the peers' own values are printed, as
the tests hold them.
"""

import argparse
import copy
import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from support.measure import reporter

import attribution
from attribution import Network, segments

sys.path.append(str(Path(__file__).parents[1]))  # the networks are those of the tests
from tests.attribution.tiny_models import SHAPE, images, tiny_model

report = reporter("peers")

TARGET = torch.tensor([0, 2, 1])
LAYER, AT_MOST = "conv2", 1e-6
GUARDED = {"grad_cam_plus_plus": 1e-2, "x_grad_cam": 1e-4}
"""Formulas that divide: pytorch-grad-cam adds 1e-6 or 1e-7 to the divisor, which ours does not."""


def cams() -> Iterator[tuple[str, NDArray[np.float64], torch.Tensor]]:
    """The maps of both, by variant: theirs, and ours."""
    from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    peers = {
        "grad_cam": GradCAM,
        "hires_cam": HiResCAM,
        "layer_cam": LayerCAM,
        "grad_cam_plus_plus": GradCAMPlusPlus,
        "x_grad_cam": XGradCAM,
    }
    inputs, targets = images(), [ClassifierOutputTarget(int(one)) for one in TARGET]
    ours = attribution.cam(
        Network(tiny_model("residual"), SHAPE), inputs, TARGET, variants=tuple(peers), layers=[LAYER]
    ).maps
    for variant, kind in peers.items():
        module = copy.deepcopy(tiny_model("residual")).eval()
        with kind(model=module, target_layers=[module.get_submodule(LAYER)]) as peer:
            outputs = peer.activations_and_grads(inputs.clone())
            sum(target(output) for target, output in zip(targets, outputs, strict=True)).backward()
            [acts], [grads] = peer.activations_and_grads.activations, peer.activations_and_grads.gradients
            theirs = peer.get_cam_image(inputs, peer.target_layers[0], targets, acts.numpy(), grads.numpy(), False)
        yield f"cam: {variant}", np.asarray(theirs), ours[variant][LAYER]


def shapley() -> Iterator[tuple[str, NDArray[np.float64], torch.Tensor]]:
    """The values of nine segments of each image, theirs and ours."""
    import shap

    module, inputs = copy.deepcopy(tiny_model("smooth")).eval(), images()
    labels = segments.grid(6, 6, 3, 3)
    found = attribution.segment_shapley(
        Network(tiny_model("smooth"), SHAPE),
        inputs,
        TARGET,
        segments=labels.unsqueeze(0),
        baseline=torch.zeros_like(inputs[:1]),
    )
    theirs = []
    for image, target in zip(inputs, TARGET.tolist(), strict=True):

        def worth(shown: NDArray[np.float64], image: torch.Tensor = image, target: int = target) -> NDArray[np.float64]:
            kept = torch.from_numpy(shown).double()[:, labels].unsqueeze(1)
            with torch.no_grad():
                return module(kept * image)[:, target].numpy()

        explainer = shap.Explainer(worth, np.zeros((1, 9)), algorithm="exact")
        theirs.append(explainer(np.ones((1, 9))).values[0])
    yield "segment_shapley: nine segments", np.stack(theirs), found.values


PEERS = {"pytorch_grad_cam": cams, "shap": shapley}
"""By the package that they need."""


def main() -> None:
    """Compares both, or prints the peers' values."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", dest="is_told")
    is_told = parser.parse_args().is_told
    there = {package: compared for package, compared in PEERS.items() if find_spec(package) is not None}
    for package in PEERS.keys() - there.keys():
        print(json.dumps({"benchmark": "peers", "skipped": f"{package} is not installed"}))
    for claim, theirs, ours in (one for compared in there.values() for one in compared()):
        if is_told:
            print(json.dumps({claim: theirs.tolist()}))
            continue
        away = float(np.abs(theirs - ours.numpy()).max() / np.abs(theirs).max())
        bound = GUARDED.get(claim.removeprefix("cam: "), AT_MOST)
        report(f"{claim}: within", away, bound, "share of the largest value", at_least=False, exactly=f"{away:.1e}")


if __name__ == "__main__":
    main()
