"""The version of the service, its client and its API description; a test keeps it equal to the distribution's."""

VERSION = "0.1.0"
