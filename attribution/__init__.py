"""Explanations of image classifiers: PyTorch in, tensors out."""

from attribution import baselines, errors
from attribution.class_sets import MinProbability, TopK
from attribution.final_layer.ablation import ablate
from attribution.final_layer.decomposed_head import DecomposedHead
from attribution.final_layer.evaluation import Evaluation, evaluate
from attribution.final_layer.heads import decompose, decomposed_bytes, decomposed_from_bytes
from attribution.final_layer.histograms import FeatureHistogram
from attribution.final_layer.influential import (
    Influential,
    chosen_features,
    feature_histogram,
    influential_features,
)
from attribution.final_layer.overlap import Overlap, overlap
from attribution.final_layer.retraining import Retrained, retrain
from attribution.final_layer.sweeps import Sweep, sweep, swept
from attribution.methods.decomposition import Decomposition, decomposition
from attribution.methods.integrated_gradients import IntegratedGradients, integrated_gradients
from attribution.methods.layer_shapley import LayerShapley, layer_shapley
from attribution.methods.multiclass_importance import MulticlassImportance, multiclass_importance
from attribution.network import Network
from attribution.pixel_covariation import PixelCovariation, pixel_covariation

__all__ = [
    "DecomposedHead",
    "Decomposition",
    "Evaluation",
    "FeatureHistogram",
    "Influential",
    "IntegratedGradients",
    "LayerShapley",
    "MinProbability",
    "MulticlassImportance",
    "Network",
    "Overlap",
    "PixelCovariation",
    "Retrained",
    "Sweep",
    "TopK",
    "ablate",
    "baselines",
    "chosen_features",
    "decompose",
    "decomposed_bytes",
    "decomposed_from_bytes",
    "decomposition",
    "errors",
    "evaluate",
    "feature_histogram",
    "influential_features",
    "integrated_gradients",
    "layer_shapley",
    "multiclass_importance",
    "overlap",
    "pixel_covariation",
    "retrain",
    "sweep",
    "swept",
]
