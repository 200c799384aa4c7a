"""Classifiers that are ONNX files: judged before they run, and run by onnxruntime."""
