"""The table of methods, and from a call of a job to a function of the engine and back, one file a method."""
