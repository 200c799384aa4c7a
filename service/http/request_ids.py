"""The id of the request that the running code answers, in its threads too: for the log."""

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")
