"""What the engine raises.

    AttributionError
    ├── NetworkError              the module cannot be explained as it is
    ├── InvalidInput (ValueError)       inputs, baselines or noise do not fit the network
    ├── InvalidTarget (ValueError)      classes to explain that are not there
    ├── InvalidOption (ValueError)      a parameter of a method outside its range
    ├── OutOfMemory (MemoryError)       even one point at a time does not fit
    └── Cancelled                 for a ``progress`` callback to raise

Every message says what was given, what was expected and what to do.
"""


class AttributionError(Exception):
    """Base of everything the engine raises on purpose."""


class NetworkError(AttributionError):
    """The module cannot be copied, frozen, run or read as a classifier."""


class InvalidInput(AttributionError, ValueError):
    """A tensor of wrong shape, dtype, device or content."""


class InvalidTarget(AttributionError, ValueError):
    """A target that names no class of the network, or does not fit the batch."""


class InvalidOption(AttributionError, ValueError):
    """A method's parameter outside its range, or two that exclude each other."""


class OutOfMemory(AttributionError, MemoryError):
    """The smallest chunk, a single point, does not fit into memory."""


class OverBudget(OutOfMemory):
    """A pass of one image takes more memory than the caller allows; nothing was run."""


class Cancelled(AttributionError):
    """Raised by a ``progress`` callback to stop the work between two chunks."""
