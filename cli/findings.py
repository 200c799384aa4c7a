"""What a doctor may find of one thing that it looks at, beside that it is well."""


class Doubt(Exception):
    """What was looked at works, and may not be enough."""


class Trouble(Exception):
    """What is wrong, with what to do about it."""
