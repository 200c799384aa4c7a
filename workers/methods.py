"""The table of methods: what each id on the wire runs, and what comes out of it."""

from contracts.parameters.integrated_gradients import IntegratedGradientsParams
from contracts.parameters.multiclass_importance import MulticlassImportanceParams
from workers.adapters.integrated_gradients import integrated_gradients
from workers.adapters.multiclass_importance import multiclass_importance
from workers.calls import Method

METHODS: dict[str, Method] = {
    "integrated_gradients": Method(
        params=IntegratedGradientsParams, run=integrated_gradients, outputs={"attributions": "signed"}
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
            "pixel_covariation": "signed",
        },
    ),
}
"""Every method that explains images, by its id on the wire."""
