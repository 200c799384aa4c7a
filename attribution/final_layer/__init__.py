"""The last linear layer of a classifier: whose features matter to which class, and what is left without the others."""
