"""Tasks over data sets: a module for each method's, and what is common to all."""
