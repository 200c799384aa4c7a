"""The network to explain: a frozen copy, its graph without in-place operations, its layers, and what is found of it."""
