"""Explanations of image classifiers: PyTorch in, tensors out."""

from attribution import baselines, errors
from attribution.applicability import applicable_methods
from attribution.class_sets import MinProbability, TopK
from attribution.decomposition.ablation import ablate
from attribution.decomposition.classifiers import decompose, decomposed_bytes, decomposed_from_bytes
from attribution.decomposition.evaluation import Evaluation, evaluate
from attribution.decomposition.histograms import FeatureHistogram
from attribution.decomposition.influential import (
    Influential,
    chosen_features,
    feature_histogram,
    influential_features,
)
from attribution.decomposition.overlap import Overlap, overlap
from attribution.decomposition.retraining import Retrained, retrain
from attribution.decomposition.sweep import Sweep, sweep, swept
from attribution.final_layer.decomposed_head import DecomposedHead
from attribution.methods.attention import Attention, attention
from attribution.methods.cam import Cam, cam
from attribution.methods.decomposition import Decomposition, decomposition
from attribution.methods.input_x_gradient import InputXGradient, input_x_gradient
from attribution.methods.integrated_gradients import IntegratedGradients, integrated_gradients
from attribution.methods.layer_shapley import LayerShapley, layer_shapley
from attribution.methods.multiclass_importance import MulticlassImportance, multiclass_importance
from attribution.methods.saliency import Saliency, saliency
from attribution.multiclass.pixel_covariation import PixelCovariation, pixel_covariation
from attribution.networks.network import Network
from attribution.passes.smoothing import Smooth

__all__ = [
    "Attention",
    "Cam",
    "DecomposedHead",
    "Decomposition",
    "Evaluation",
    "FeatureHistogram",
    "Influential",
    "InputXGradient",
    "IntegratedGradients",
    "LayerShapley",
    "MinProbability",
    "MulticlassImportance",
    "Network",
    "Overlap",
    "PixelCovariation",
    "Retrained",
    "Saliency",
    "Smooth",
    "Sweep",
    "TopK",
    "ablate",
    "applicable_methods",
    "attention",
    "baselines",
    "cam",
    "chosen_features",
    "decompose",
    "decomposed_bytes",
    "decomposed_from_bytes",
    "decomposition",
    "errors",
    "evaluate",
    "feature_histogram",
    "influential_features",
    "input_x_gradient",
    "integrated_gradients",
    "layer_shapley",
    "multiclass_importance",
    "overlap",
    "pixel_covariation",
    "retrain",
    "saliency",
    "sweep",
    "swept",
]
