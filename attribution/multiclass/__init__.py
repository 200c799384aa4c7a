"""Importance over many classes at once: attribution matrices that are multiplied and never held."""
