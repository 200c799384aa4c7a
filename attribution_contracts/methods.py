"""Every method, discriminated by `method`, and what the catalogue says of it."""

from collections.abc import Collection, Iterable
from typing import Annotated, get_args

from pydantic import Field

from attribution_contracts.base import Wire
from attribution_contracts.parameters.activation_maps import ActivationMapsParams
from attribution_contracts.parameters.attention import AttentionParams
from attribution_contracts.parameters.auto import AutoParams
from attribution_contracts.parameters.base import MethodParams, Takes
from attribution_contracts.parameters.cam import CamParams
from attribution_contracts.parameters.decomposition import DecompositionParams
from attribution_contracts.parameters.deconvolution import DeconvolutionParams
from attribution_contracts.parameters.deeplift import DeepLiftParams
from attribution_contracts.parameters.feature_visualization import FeatureVisualizationParams
from attribution_contracts.parameters.first_layer_filters import FirstLayerFiltersParams
from attribution_contracts.parameters.guided_backprop import GuidedBackpropParams
from attribution_contracts.parameters.input_x_gradient import InputXGradientParams
from attribution_contracts.parameters.integrated_gradients import IntegratedGradientsParams
from attribution_contracts.parameters.inversion import InversionParams
from attribution_contracts.parameters.layer_shapley import LayerShapleyParams
from attribution_contracts.parameters.lrp import LrpParams
from attribution_contracts.parameters.multiclass_importance import MulticlassImportanceParams
from attribution_contracts.parameters.occlusion import OcclusionParams
from attribution_contracts.parameters.rise import RiseParams
from attribution_contracts.parameters.saliency import SaliencyParams
from attribution_contracts.parameters.segment_shapley import SegmentShapleyParams
from attribution_contracts.parameters.self_test import SelfTestParams
from attribution_contracts.parameters.xrai import XraiParams

Explanation = Annotated[
    ActivationMapsParams
    | AttentionParams
    | AutoParams
    | CamParams
    | DecompositionParams
    | DeconvolutionParams
    | DeepLiftParams
    | FeatureVisualizationParams
    | FirstLayerFiltersParams
    | GuidedBackpropParams
    | InputXGradientParams
    | IntegratedGradientsParams
    | InversionParams
    | LayerShapleyParams
    | LrpParams
    | MulticlassImportanceParams
    | RiseParams
    | OcclusionParams
    | SaliencyParams
    | SegmentShapleyParams
    | SelfTestParams
    | XraiParams,
    Field(discriminator="method"),
]
"""Every method of this version."""

METHODS: dict[str, type[MethodParams]] = {
    get_args(params.model_fields["method"].annotation)[0]: params for params in get_args(get_args(Explanation)[0])
}
"""The same by its id on the wire."""


CAN_BE_DISABLED: tuple[str, ...] = tuple(name for name, params in METHODS.items() if params.has_engine)
"""Ids that an operator may take out: all that explain."""


def disabled_in(explanation: Explanation, disabled: Collection[str]) -> str | None:
    """What is said of an explanation by a method that the operator has disabled; nothing where it may be made."""
    return disabled_among(explanation.method, (explanation.method, *explanation.also_uses), disabled)


def disabled_among(asked: str, used: Iterable[str], disabled: Collection[str]) -> str | None:
    """The same of a method or task that follows the rules of some methods."""
    found = next((name for name in used if name in disabled), None)
    if found is None:
        return None
    how = "" if found == asked else f", whose rules {asked} would follow as asked for"
    return (
        f"the operator of this service has disabled {found}{how} (ATTRIBUTION_DISABLED_METHODS): GET /v1/methods lists "
        "what there is"
    )


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
    caution: str = ""
    """What published tests say against it; empty where there is nothing."""
    cost_class: str
    """What a job costs, in passes through the network."""
    takes: Takes = "images"
    """What a job of it has besides a model: images, nothing, or a data set."""
    parameters: dict[str, object]
    """JSON schema of the parameters."""


class MethodList(Wire):
    """Every method of this version."""

    methods: list[MethodInfo]
