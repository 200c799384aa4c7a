"""Figures about the maps of a job."""
