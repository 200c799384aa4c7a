"""The language of the service: what requests, jobs, results and errors look like on the wire."""
