"""Images as methods see them, without a job around them, and what is said against their results."""

import hashlib
from typing import Any

import pytest
import torch
from PIL import Image

from attribution import Network
from attribution_contracts.images import ImageRef
from attribution_contracts.jobs import InputImage
from attribution_contracts.methods import METHODS as PARAMS
from attribution_contracts.models import Preprocessing
from attribution_contracts.quality import OcclusionOptions
from attribution_contracts.warnings import ResultWarning
from workers.images.preprocessing import View
from workers.methods.baselines import Row
from workers.methods.calls import Call
from workers.methods.table import METHODS
from workers.quality.occlusion import occlusion_of
from workers.quality.warnings import changes_of, warnings_of


def row(position: int, inputs: torch.Tensor, preprocessing: Preprocessing, seed: int = 0) -> Row:
    digest = hashlib.sha256(inputs.double().numpy().tobytes()).hexdigest()
    height, width = inputs.shape[1:]

    def fetch(_: ImageRef) -> torch.Tensor:
        pytest.fail("nothing names another image")

    return Row(
        position=position,
        given=InputImage(image=digest),
        sha256=digest,
        inputs=inputs,
        displayed=Image.new("RGB", (width, height)),
        view=View.whole(height, width),
        target=None,
        preprocessing=preprocessing,
        seed=seed,
        backgrounds={},
        fetch=fetch,
    )


def warned(
    network: Network,
    inputs: torch.Tensor,
    preprocessing: Preprocessing,
    method: str,
    *,
    curves: OcclusionOptions | None = None,
    fitted: bytes = b"",
    **params: Any,
) -> list[list[ResultWarning]]:
    """The warnings of each image whose predicted class is explained."""
    given = PARAMS[method].model_validate({"method": method} | params)
    k = 1 if given.class_field() == "target" else 0
    network = network.explaining(getattr(given, "output", "logit"))
    logits = network.logits(inputs).detach()
    target = logits.argmax(1, keepdim=True)[:, :k]
    rows = [row(position, one, preprocessing) for position, one in enumerate(inputs)]
    call = Call(network, rows, inputs, target, given, lambda done, total: None, 2**30, lambda _: fitted)
    explained = METHODS[method].run(call)
    judged = [one for one in explained.outputs if one.field == given.quantities[0]]
    followed = (
        [[] for _ in rows]
        if curves is None
        else occlusion_of(call, judged, logits.argmax(1), curves, classes=explained.compared)
    )
    changes, checks = changes_of(network, given, rows, logits, call), network.report().checks
    return [
        warnings_of(given, figures, own, of_image, checks)
        for figures, own, of_image in zip(explained.figures, changes, followed, strict=True)
    ]
