"""Models and data sets entering the registry."""
