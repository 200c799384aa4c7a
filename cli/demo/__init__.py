"""The demonstration: what it explains, and how it shows it."""
