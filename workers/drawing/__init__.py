"""Pictures, charts and raw files of a result."""
