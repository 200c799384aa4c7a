"""Figures that judge a map by what the network does."""
