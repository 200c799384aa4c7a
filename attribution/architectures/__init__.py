"""Classifiers of our own, as plain modules that return logits and read or write nothing."""

from attribution.architectures.cifar_resnet import CifarResNet, cifar_resnet
from attribution.architectures.mnist_cnn import mnist_cnn
from attribution.architectures.small_vit import small_vit
from attribution.architectures.two_class_head import convolutional_features, two_class_head

__all__ = ["CifarResNet", "cifar_resnet", "convolutional_features", "mnist_cnn", "small_vit", "two_class_head"]
