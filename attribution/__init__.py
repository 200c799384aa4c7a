"""Explanations of image classifiers: PyTorch in, tensors out."""

from attribution import baselines, errors
from attribution.methods.integrated_gradients import IntegratedGradients, integrated_gradients
from attribution.network import Network

__all__ = ["IntegratedGradients", "Network", "baselines", "errors", "integrated_gradients"]
