"""Explanations of image classifiers: PyTorch in, tensors out."""

from attribution import baselines, errors
from attribution.class_sets import MinProbability, TopK
from attribution.methods.integrated_gradients import IntegratedGradients, integrated_gradients
from attribution.methods.layer_shapley import LayerShapley, layer_shapley
from attribution.methods.multiclass_importance import MulticlassImportance, multiclass_importance
from attribution.network import Network
from attribution.pixel_covariation import PixelCovariation, pixel_covariation

__all__ = [
    "IntegratedGradients",
    "LayerShapley",
    "MinProbability",
    "MulticlassImportance",
    "Network",
    "PixelCovariation",
    "TopK",
    "baselines",
    "errors",
    "integrated_gradients",
    "layer_shapley",
    "multiclass_importance",
    "pixel_covariation",
]
