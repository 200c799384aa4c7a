"""What any HTTP service has: bodies, multipart, ranges, problems, limits."""
