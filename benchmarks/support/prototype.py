"""The same door as one would write it in an afternoon: FastAPI, SQLAlchemy, a synced file, a Celery publish.

It keeps the one promise that both are measured by: what is answered with 202 survives the loss of power. It has no
idempotency, cache, registry of models, leases, limits or problems, and imports nothing of ours.
"""

import hashlib
import io
import os
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from celery import Celery
from fastapi import FastAPI, Form, HTTPException, UploadFile
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import JSON, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

FOLDER = Path(os.environ["PROTOTYPE_FOLDER"])
MAX_PIXELS = 50_000_000

engine = create_engine(f"sqlite:///{FOLDER / 'prototype.sqlite'}", connect_args={"timeout": 15})
Session = sessionmaker(engine, expire_on_commit=False)

broker_url = os.environ["PROTOTYPE_BROKER_URL"]
queue = Celery("prototype", broker=broker_url, backend=broker_url)
queue.conf.worker_prefetch_multiplier = 1

app = FastAPI()


@event.listens_for(engine, "connect")
def _prepare(connection: Any, _entry: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


class Base(DeclarativeBase):
    """The prototype's tables."""


class Job(Base):
    """A job."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    image: Mapped[str]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


Base.metadata.create_all(engine)


class Explanation(BaseModel):
    """The method and its parameter."""

    method: Literal["integrated_gradients"]
    n_steps: int = Field(50, ge=1, le=1000)


class Input(BaseModel):
    """An image of the form."""

    part: str


class JobRequest(BaseModel):
    """What is to be explained."""

    model: str
    inputs: list[Input]
    explanation: Explanation


class JobAnswer(BaseModel):
    """A job as JSON."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    status: str
    request: dict[str, Any]
    image: str
    created_at: datetime
    finished_at: datetime | None


@app.get("/healthz")
def health() -> dict[str, str]:
    """Says that it is there."""
    return {"status": "ok"}


@app.post("/jobs", status_code=202)
def submit(request: Annotated[str, Form()], image: UploadFile) -> JobAnswer:
    """Takes an image, enters a job, wakes a worker."""
    try:
        asked = JobRequest.model_validate_json(request)
    except ValidationError as error:
        raise HTTPException(422, error.errors()) from error
    content = image.file.read()
    _require_image(content)
    job = Job(
        id=uuid.uuid4().hex,
        status="queued",
        request=asked.model_dump(),
        image=_stored(content),
        created_at=datetime.now(UTC),
    )
    with Session() as session:
        session.add(job)
        session.commit()
    run.delay(job.id)
    return JobAnswer.model_validate(job)


@app.get("/jobs/{job_id}")
def look_up(job_id: str) -> JobAnswer:
    """Answers with a job."""
    with Session() as session:
        job = session.get(Job, job_id)
    if job is None:
        raise HTTPException(404, "no such job")
    return JobAnswer.model_validate(job)


@queue.task
def run(job_id: str) -> None:
    """Ends a job."""
    with Session() as session:
        job = session.get(Job, job_id)
        if job is not None:
            job.status, job.finished_at = "succeeded", datetime.now(UTC)
            session.commit()


@queue.task
def nothing() -> None:
    """A bare round trip."""


def _require_image(content: bytes) -> None:
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG", "PNG", "WEBP"]) as image:
            width, height = image.size
    except UnidentifiedImageError as error:
        raise HTTPException(422, "no image") from error
    if width * height > MAX_PIXELS:
        raise HTTPException(422, "too large an image")


def _stored(content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    path = FOLDER / digest
    if not path.exists():
        with tempfile.NamedTemporaryFile(dir=FOLDER, delete=False) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
    return digest
