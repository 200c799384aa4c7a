"""The last linear layer of a classifier: where it is, what it reads, and a head with fewer features in its place."""
