"""The table of methods: what each id on the wire runs, and what comes out of it."""

from attribution_contracts.parameters.decomposition import DecompositionParams
from attribution_contracts.parameters.integrated_gradients import IntegratedGradientsParams
from attribution_contracts.parameters.layer_shapley import LayerShapleyParams
from attribution_contracts.parameters.multiclass_importance import MulticlassImportanceParams
from workers.methods.calls import Method
from workers.methods.decomposition import decomposition
from workers.methods.integrated_gradients import integrated_gradients
from workers.methods.layer_shapley import layer_shapley
from workers.methods.multiclass_importance import multiclass_importance

METHODS: dict[str, Method] = {
    "decomposition": Method(
        params=DecompositionParams,
        run=decomposition,
        outputs={"influential": "per_layer", "others": "per_layer", "everything": "per_layer"},
    ),
    "integrated_gradients": Method(
        params=IntegratedGradientsParams,
        run=integrated_gradients,
        outputs={"attributions": "signed"},
        trial={"n_steps": 2},
    ),
    "layer_shapley": Method(
        params=LayerShapleyParams,
        run=layer_shapley,
        outputs={"layer_map": "per_layer", "layer_values": "values"},
        trial={"layers": "all", "n_steps": 2, "top": 1},
    ),
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
}
"""Every method that explains images, by its id on the wire."""
