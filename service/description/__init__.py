"""How the service describes itself: its OpenAPI file, examples, and the texts of its problems."""
