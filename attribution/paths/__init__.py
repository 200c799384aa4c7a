"""Straight paths from a baseline to the image, and integrals along them by a rule or to a tolerance."""
