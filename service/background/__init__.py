"""Work beside requests that needs no torch: what the reconciler does."""
