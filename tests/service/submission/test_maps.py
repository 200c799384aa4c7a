"""How many maps are asked for: as many as there will be files."""

from typing import Any

import pytest

from attribution_contracts.identity import ModelIdentity
from attribution_contracts.jobs import JobRequest
from attribution_contracts.models import LayerInfo
from service.gateway.ready_models import ReadyModel
from service.submission.targets import count_maps
from tests.service.house import IG, report_of, sent

LAYERS = [LayerInfo(name=name, kind="Conv2d", shape=[1], cuts=True) for name in ("conv1", "conv2", "conv3")]
MODEL = ReadyModel(
    ModelIdentity(name="digits", version="1", sha256="0" * 64),
    {},
    report_of(10).model_copy(update={"layers": LAYERS, "stages": ["conv1", "conv3"]}),
    {},
)
SHAPLEY = {"method": "layer_shapley"}


@pytest.mark.parametrize(
    ("explanation", "maps"),
    [
        (IG, 1),
        (IG | {"target": {"top_k": 3}}, 3),
        (IG | {"target": "all"}, 10),
        (SHAPLEY, 2),
        (SHAPLEY | {"raw": ["conv1", "conv2"]}, 5),
        (SHAPLEY | {"layers": ["conv1"]}, 1),
        (SHAPLEY | {"layers": ["conv?"]}, 3),
        (SHAPLEY | {"layers": ["conv1"], "raw": ["conv?"]}, 4),
        (SHAPLEY | {"layers": "all", "raw": ["all"]}, 8),
        (SHAPLEY | {"layers": ["conv1"], "raw": ["conv1", "conv?"], "target": {"classes": [1, 2]}}, 8),
    ],
)
def test_each_target_of_each_image_has_its_own(explanation: dict[str, Any], maps: int) -> None:
    for images in (1, 3):
        asked = {"model": "digits", "inputs": [sent()] * images, "explanation": explanation}
        request = JobRequest.model_validate(asked)
        assert request.explanation is not None
        assert count_maps(request, request.explanation, MODEL) == images * maps
