"""Explanations of image classifiers: PyTorch in, tensors out."""

from attribution import baselines, errors, segments
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
from attribution.layerwise.channels import FeatureMap
from attribution.methods.activation_maps import ActivationMaps, activation_maps
from attribution.methods.attention import Attention, attention
from attribution.methods.cam import Cam, cam
from attribution.methods.decomposition import Decomposition, decomposition
from attribution.methods.deconvolution import Deconvolution, deconvolution
from attribution.methods.deeplift import DeepLift, deeplift
from attribution.methods.feature_visualization import FeatureVisualization, feature_visualization
from attribution.methods.first_layer_filters import FirstLayerFilters, first_layer_filters
from attribution.methods.guided_backprop import GuidedBackprop, guided_backprop
from attribution.methods.input_x_gradient import InputXGradient, input_x_gradient
from attribution.methods.integrated_gradients import IntegratedGradients, integrated_gradients
from attribution.methods.inversion import Inversion, inversion
from attribution.methods.layer_shapley import LayerShapley, layer_shapley
from attribution.methods.lrp import Lrp, lrp
from attribution.methods.multiclass_importance import MulticlassImportance, multiclass_importance
from attribution.methods.occlusion import Occlusion, occlusion
from attribution.methods.rise import Rise, rise
from attribution.methods.saliency import Saliency, saliency
from attribution.methods.segment_shapley import SegmentShapley, segment_shapley
from attribution.methods.xrai import Xrai, xrai
from attribution.multiclass.pixel_covariation import PixelCovariation, pixel_covariation
from attribution.networks.network import Network
from attribution.passes.smoothing import Smooth
from attribution.propagation.shares import Concept

__all__ = [
    "ActivationMaps",
    "Attention",
    "Cam",
    "Concept",
    "DecomposedHead",
    "Decomposition",
    "Deconvolution",
    "DeepLift",
    "Evaluation",
    "FeatureHistogram",
    "FeatureMap",
    "FeatureVisualization",
    "FirstLayerFilters",
    "GuidedBackprop",
    "Influential",
    "InputXGradient",
    "IntegratedGradients",
    "Inversion",
    "LayerShapley",
    "Lrp",
    "MinProbability",
    "MulticlassImportance",
    "Network",
    "Occlusion",
    "Overlap",
    "PixelCovariation",
    "Retrained",
    "Rise",
    "Saliency",
    "SegmentShapley",
    "Smooth",
    "Sweep",
    "TopK",
    "Xrai",
    "ablate",
    "activation_maps",
    "applicable_methods",
    "attention",
    "baselines",
    "cam",
    "chosen_features",
    "decompose",
    "decomposed_bytes",
    "decomposed_from_bytes",
    "decomposition",
    "deconvolution",
    "deeplift",
    "errors",
    "evaluate",
    "feature_histogram",
    "feature_visualization",
    "first_layer_filters",
    "guided_backprop",
    "influential_features",
    "input_x_gradient",
    "integrated_gradients",
    "inversion",
    "layer_shapley",
    "lrp",
    "multiclass_importance",
    "occlusion",
    "overlap",
    "pixel_covariation",
    "retrain",
    "rise",
    "saliency",
    "segment_shapley",
    "segments",
    "sweep",
    "swept",
    "xrai",
]
