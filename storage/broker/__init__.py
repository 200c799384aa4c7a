"""The queue: what is published to it, and a private one where none is configured."""
