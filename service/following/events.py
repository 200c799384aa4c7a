"""Following one job: server-sent events, and waiting for its end."""

from collections.abc import AsyncIterator

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from attribution_contracts.jobs import Job
from service.gateway.gateway import Gateway, in_thread
from storage.ledger.jobs import find

HEARTBEAT_S = 15.0
RECONNECT_MS = 1000


async def events(gateway: Gateway, tenant: str, job: Job, seen: int | None) -> AsyncIterator[bytes]:
    """Each version of the job as an event, until it has ended; a comment where nothing happens for a while."""
    current: Job | None = job
    while current is not None:
        if current.version != seen:
            yield format_sse_event(data_str=current.model_dump_json(), id=str(current.version), retry=RECONNECT_MS)
            seen = current.version
        if current.status.is_terminal or gateway.watcher.is_closed:
            return
        if await gateway.watcher.changed(job.id, seen, HEARTBEAT_S):
            current = await in_thread(find, gateway.engine, tenant, job.id)
        else:
            yield KEEPALIVE_COMMENT


async def until_ended(gateway: Gateway, tenant: str, job: Job, seconds: float) -> Job:
    """The job as it stands when it has ended, or when the time is up."""
    if job.status.is_terminal or not seconds:
        return job
    await gateway.watcher.ended(job.id, seconds)
    return await in_thread(find, gateway.engine, tenant, job.id) or job
