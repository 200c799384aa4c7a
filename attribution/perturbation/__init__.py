"""Outputs of images of which a part was changed: the parts, and how little of a network they change."""
