"""Tasks over a data set: how each is split, computed and merged."""
