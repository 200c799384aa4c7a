"""What every job has: procedure, progress, provenance, checkpoints."""
