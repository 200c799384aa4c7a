"""The table of methods: what each id on the wire runs, and what comes out of it."""

import attribution
from attribution_contracts.parameters.activation_maps import ActivationMapsParams
from attribution_contracts.parameters.attention import AttentionParams
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
from attribution_contracts.parameters.xrai import XraiParams
from workers.methods.activation_maps import activation_maps
from workers.methods.adapters import one_map_a_class
from workers.methods.attention import OUTPUTS as OF_ATTENTION
from workers.methods.attention import attention
from workers.methods.calls import Method, OutputKind
from workers.methods.cam import OUTPUTS, cam
from workers.methods.decomposition import decomposition
from workers.methods.deeplift import deeplift
from workers.methods.feature_visualization import feature_visualization
from workers.methods.first_layer_filters import first_layer_filters
from workers.methods.integrated_gradients import integrated_gradients
from workers.methods.inversion import inversion
from workers.methods.layer_shapley import layer_shapley
from workers.methods.lrp import lrp
from workers.methods.multiclass_importance import multiclass_importance
from workers.methods.occlusion import OUTPUTS as OCCLUSION_OUTPUTS
from workers.methods.occlusion import occlusion, one_window
from workers.methods.segment_shapley import segment_shapley
from workers.methods.xrai import xrai

_GRADIENTS: dict[str, OutputKind] = {"square": "magnitude", "variance": "magnitude", "standard_error": "values"}
"""What comes of a method by gradients over noisy copies, beside its own maps."""

METHODS: dict[str, Method] = {
    "activation_maps": Method(
        params=ActivationMapsParams,
        run=activation_maps,
        outputs={"activation": "per_layer"},
        trial={"layers": "all", "n_top": 1},
    ),
    # Rollout needs a class token besides, and says so.
    "attention": Method(params=AttentionParams, run=attention, outputs=OF_ATTENTION, trial={"variants": ["legrad"]}),
    "cam": Method(params=CamParams, run=cam, outputs=OUTPUTS, trial={"layers": "all", "variants": ["grad_cam"]}),
    "decomposition": Method(
        params=DecompositionParams,
        run=decomposition,
        outputs={"influential": "per_layer", "others": "per_layer", "everything": "per_layer"},
    ),
    "deconvolution": Method(
        params=DeconvolutionParams,
        run=one_map_a_class(attribution.deconvolution),
        outputs={"gradient": "signed", **_GRADIENTS},
    ),
    "deeplift": Method(
        params=DeepLiftParams,
        run=deeplift,
        outputs={"attributions": "signed", "standard_error": "values", "layer_map": "per_layer"},
    ),
    "feature_visualization": Method(
        params=FeatureVisualizationParams,
        run=feature_visualization,
        outputs={"visualization": "picture"},
        trial={"n_steps": 1, "channels": [0], "n_crops": 0},
    ),
    "first_layer_filters": Method(
        params=FirstLayerFiltersParams, run=first_layer_filters, outputs={"filters": "values"}
    ),
    "guided_backprop": Method(
        params=GuidedBackpropParams,
        run=one_map_a_class(attribution.guided_backprop),
        outputs={"gradient": "signed", **_GRADIENTS},
    ),
    "input_x_gradient": Method(
        params=InputXGradientParams,
        run=one_map_a_class(attribution.input_x_gradient),
        outputs={"attributions": "signed", **_GRADIENTS},
    ),
    "integrated_gradients": Method(
        params=IntegratedGradientsParams,
        run=integrated_gradients,
        outputs={"attributions": "signed", **_GRADIENTS},
        trial={"n_steps": 2},
    ),
    "inversion": Method(
        params=InversionParams, run=inversion, outputs={"inversion": "picture"}, trial={"n_steps": 1, "n_starts": 1}
    ),
    "layer_shapley": Method(
        params=LayerShapleyParams,
        run=layer_shapley,
        outputs={"layer_map": "per_layer", "layer_values": "values"},
        trial={"layers": "all", "n_steps": 2, "top": 1},
    ),
    "lrp": Method(params=LrpParams, run=lrp, outputs={"attributions": "signed", "layer_map": "per_layer"}),
    "multiclass_importance": Method(
        params=MulticlassImportanceParams,
        run=multiclass_importance,
        outputs={
            "std": "magnitude",
            "importance": "signed",
            "individual": "magnitude",
            "covariation": "signed",
            "silhouette": "magnitude",
            "standard_error": "magnitude",
            "individual_low": "values",
            "individual_high": "values",
            "pixel_covariation": "signed",
        },
        trial={"mode": "importance"},
    ),
    "rise": Method(
        params=RiseParams,
        run=one_map_a_class(attribution.rise),
        outputs={"shown_above_mean": "signed", "shown": "signed", "standard_error": "values"},
        trial={"n_masks": 16},
    ),
    "occlusion": Method(params=OcclusionParams, run=occlusion, outputs=OCCLUSION_OUTPUTS, trial=one_window),
    "saliency": Method(
        params=SaliencyParams,
        run=one_map_a_class(attribution.saliency),
        outputs={"saliency": "magnitude", "gradient": "signed", **_GRADIENTS},
    ),
    "segment_shapley": Method(
        params=SegmentShapleyParams,
        run=segment_shapley,
        outputs={"attributions": "regions", "standard_error": "values", "segments": "values"},
        trial={"segments": {"kind": "grid", "rows": 1, "columns": 2}},
    ),
    "xrai": Method(
        params=XraiParams,
        run=xrai,
        outputs={"rank": "ranks", "gain": "regions"},
        trial={"n_steps": 2, "scales": [250]},
    ),
}
"""Every method that explains images or a model, by its id on the wire."""
