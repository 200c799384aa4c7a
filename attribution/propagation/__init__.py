"""Passes whose slopes follow a rule instead of the derivative: DeepLIFT and epsilon-LRP."""
