"""Parameters of each method, one file a method."""
