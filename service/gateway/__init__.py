"""What the process of a gateway holds between requests."""
