"""Tasks of the decomposition of the final layer over a data set: how each is split, computed and merged."""
