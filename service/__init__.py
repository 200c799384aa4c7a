"""The door: the HTTP gateway, and the background work that needs no torch."""
