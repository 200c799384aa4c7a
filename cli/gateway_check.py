"""The doctor's look at a gateway: does one answer, and does it use the ledger and the store of this command?"""

import io
import os

import httpx
from PIL import Image
from pydantic import ValidationError

from attribution_contracts.health import Readiness
from attribution_contracts.images import UploadedImage
from cli.findings import Doubt, Trouble
from cli.listening import url_of
from storage.addresses import ledger_name
from storage.artifacts.owned import owned
from storage.artifacts.store import ArtifactStore
from storage.database import open_database
from storage.settings import Settings
from storage.tables import DEFAULT_TENANT
from storage.urls import require_service

TIMEOUT_S = 10.0
"""Longer than `/readyz` gives what it looks at."""
_PARTS = ("ledger", "store", "broker", "workers")


def gateway_state(settings: Settings, *, is_ready: bool) -> str:
    """What a gateway says of itself; where ledger and store are well here (`is_ready`), that it uses the same.

    Raises:
        Doubt: None answers, or it accepts jobs that have to wait.
        Trouble: It accepts none, or keeps them elsewhere.
    """
    url = (os.environ.get("ATTRIBUTION_URL") or url_of(settings.host, settings.port)).rstrip("/")
    try:
        require_service(url)
    except ValueError as error:
        raise Trouble(f"ATTRIBUTION_URL: {error}") from error
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
        try:
            found = Readiness.model_validate_json(client.get("/readyz").content)
        except httpx.TransportError:
            raise Doubt(
                f"none answers at {url}: jobs cannot be submitted there; start `attribution gateway`, or say with "
                "ATTRIBUTION_URL where one is"
            ) from None
        except ValidationError:
            raise Doubt(f"what answers at {url} is no gateway: say with ATTRIBUTION_URL where one is") from None
        wrong = [f"{part}: {check.detail}" for part in _PARTS if not (check := getattr(found, part)).ok]
        if found.status == "unavailable":
            raise Trouble(f"{url} accepts no jobs: {'; '.join(wrong)}")
        if is_ready:
            _require_same(client, url, settings)
    if wrong:
        raise Doubt(f"{url} accepts jobs, and is degraded: {'; '.join(wrong)}")
    return f"{url} accepts jobs" + (", with this ledger and artefact store" if is_ready else "")


def _require_same(client: httpx.Client, url: str, settings: Settings) -> None:
    """Sends an image that nobody else ever sent, and looks for it here; the sweeper deletes it, for none uses it."""
    file = io.BytesIO()
    Image.frombytes("RGB", (4, 4), os.urandom(48)).save(file, "PNG")
    reply = client.post("/v1/images", content=file.getvalue(), headers={"Content-Type": "image/png"})
    if not reply.is_success:
        raise Doubt(f"{url} refuses an image, with {reply.status_code}: {reply.text[:200]}")
    digest = UploadedImage.model_validate_json(reply.content).sha256
    engine, store = (
        open_database(settings.resolved_database_url, pool_size=1),
        ArtifactStore(settings.resolved_artifact_url),
    )
    try:
        if owned(engine, DEFAULT_TENANT, digest) is None:
            raise Trouble(
                f"the gateway at {url} uses another ledger than this command, {ledger_name(engine)}: set "
                "ATTRIBUTION_DATABASE_URL (or ATTRIBUTION_DATA_DIR) alike for gateways, workers and reconcilers"
            )
    finally:
        engine.dispose()
    if not store.has(digest):
        raise Trouble(
            f"the gateway at {url} uses another artefact store than this command, {store.url}: set "
            "ATTRIBUTION_ARTIFACT_URL (or ATTRIBUTION_DATA_DIR) alike for gateways, workers and reconcilers"
        )
