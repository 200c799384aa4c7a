"""Files by their digest: where they are kept, and whose they are."""
