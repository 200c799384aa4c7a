"""Shapley values of a layer's game: its players, its coalitions, and how they are sampled."""
