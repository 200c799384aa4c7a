"""Every method, discriminated by `method`, and what the catalogue says of it."""

from typing import Annotated, get_args

from pydantic import Field

from attribution_contracts.base import Wire
from attribution_contracts.parameters.attention import AttentionParams
from attribution_contracts.parameters.base import MethodParams
from attribution_contracts.parameters.cam import CamParams
from attribution_contracts.parameters.decomposition import DecompositionParams
from attribution_contracts.parameters.input_x_gradient import InputXGradientParams
from attribution_contracts.parameters.integrated_gradients import IntegratedGradientsParams
from attribution_contracts.parameters.layer_shapley import LayerShapleyParams
from attribution_contracts.parameters.multiclass_importance import MulticlassImportanceParams
from attribution_contracts.parameters.saliency import SaliencyParams
from attribution_contracts.parameters.self_test import SelfTestParams

Explanation = Annotated[
    AttentionParams
    | CamParams
    | DecompositionParams
    | InputXGradientParams
    | IntegratedGradientsParams
    | LayerShapleyParams
    | MulticlassImportanceParams
    | SaliencyParams
    | SelfTestParams,
    Field(discriminator="method"),
]
"""Every method of this version."""

METHODS: dict[str, type[MethodParams]] = {
    get_args(params.model_fields["method"].annotation)[0]: params for params in get_args(get_args(Explanation)[0])
}
"""The same by its id on the wire."""


class MethodInfo(Wire):
    """One row of the catalogue."""

    id: str
    version: int
    """Grows when the same parameters give other numbers; answers of an older version are not reused."""
    summary: str
    use: str = ""
    """Whom it is for, and what it shows them."""
    guarantee: str
    """Exact, unbiased with a standard error, or heuristic."""
    cost_class: str
    """What a job costs, in passes through the network."""
    parameters: dict[str, object]
    """JSON schema of the parameters."""


class MethodList(Wire):
    """Every method of this version."""

    methods: list[MethodInfo]
