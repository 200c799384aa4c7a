"""Passes over labelled images, a batch at a time."""
