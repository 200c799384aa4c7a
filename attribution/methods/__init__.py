"""One method, one file, one function."""
