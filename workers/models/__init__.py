"""From a specification and its weights to a network, and what is reported of it."""
