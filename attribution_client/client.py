"""The client: one method for each thing the service does."""

import hashlib
import io
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attribution_client.bodies import Body, CountedFile, Images, Sent, Source, job_body, json_body, multipart, raw_body
from attribution_client.errors import CorruptArtifact, JobFailed, ProblemError
from attribution_client.folders import write_files
from attribution_client.pieces import send_pieces
from attribution_client.session import Session, read
from attribution_client.waiting import POLL_S, states
from attribution_contracts.datasets import DatasetList, DatasetVersion
from attribution_contracts.health import VersionInfo
from attribution_contracts.images import UploadedImage
from attribution_contracts.jobs import Job, JobList, JobRequest
from attribution_contracts.methods import MethodInfo, MethodList
from attribution_contracts.models import ModelList, ModelReport, ModelSpec, ModelVersion
from attribution_contracts.problems import ErrorCode
from attribution_contracts.results import ArtifactRef, Result
from attribution_contracts.states import ModelState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


Page = TypeVar("Page", JobList, ModelList, DatasetList)

_LONG_PAGES = {"limit": 100}
_NPY = b"\x93NUMPY"
"""What a raw map begins with."""


class Client:
    """Talks to one service; not shared between threads."""

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        timeout: float = 30.0,
        patience: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Connects on first use.

        Args:
            base_url: Where the service listens.
            timeout: Seconds to wait for one answer.
            patience: Seconds to go on asking a service that is away or busy, where asking again is safe; a minute
                unless told, and some seconds where an address of this machine refuses connections and none was
                answered yet.
            headers: Sent with every request.
        """
        self._session = Session(base_url, timeout, patience, headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes every connection."""
        self._session.close()

    def submit(
        self,
        request: JobRequest | Mapping[str, Any] | None = None,
        *,
        images: Images = (),
        idempotency_key: str | None = None,
        is_fresh: bool = False,
        **fields: Any,  # noqa: ANN401 - the fields of a request, which the service checks
    ) -> Job:
        """Sends a job: a request, fields of one, or both; sent again it is still the same job.

        Args:
            request: What to explain, and how.
            images: Files (bytes or paths), in their order those of the inputs that name no image, such as
                `{"label": "cat"}`, and further inputs; or by part name, where the request names parts.
            idempotency_key: Names the job across processes; a random one without.
            is_fresh: Compute again what the service knows already.
            **fields: Fields of the request, for example `model="digits"`.

        Raises:
            ValueError: There are fewer files than inputs that name no image.
        """
        headers = {"idempotency-key": idempotency_key or uuid.uuid4().hex}
        if is_fresh:
            headers["cache-control"] = "no-cache"
        body = job_body(request, fields, images)
        return read(Job, self._session.send("POST", "/v1/jobs", body, headers=headers, is_repeatable=True))

    def job(self, job_id: str) -> Job:
        """The job as it stands."""
        return read(Job, self._session.get(f"/v1/jobs/{job_id}"))

    def wait(
        self, job_id: str, *, progress: Callable[[Job], object] | None = None, timeout: float | None = None
    ) -> Job:
        """The job in its final state, whichever that is; `progress` sees every state on the way.

        Raises:
            TimeoutError: The job is not final after `timeout` seconds; it goes on all the same.
        """
        for job in states(self._session, job_id, timeout):
            if progress is not None:
                progress(job)
        return job

    def result(self, job_id: str) -> Result:
        """The result of a job that succeeded.

        Raises:
            JobFailed: The job ended without one.
            ProblemError: Among others, the job has not ended yet.
        """
        try:
            return read(Result, self._session.get(f"/v1/jobs/{job_id}/result"))
        except ProblemError as error:
            if error.problem.code is not ErrorCode.JOB_ENDED_WITHOUT_RESULT:
                raise
        raise JobFailed(self.job(job_id))

    def cancel(self, job_id: str) -> Job:
        """Asks for the end of a job; asking again changes nothing."""
        return read(Job, self._session.send("POST", f"/v1/jobs/{job_id}/cancel", is_repeatable=True))

    def delete(self, job_id: str) -> None:
        """Forgets a job that has ended, and its result."""
        self._session.send("DELETE", f"/v1/jobs/{job_id}")

    def upload(self, image: Source) -> UploadedImage:
        """Sends an image once, to be named by its digest in any number of jobs."""
        body = raw_body(image)
        return read(UploadedImage, self._session.send("POST", "/v1/images", body, is_repeatable=True))

    def jobs(self, **filters: str | int) -> Iterator[Job]:
        """Jobs, the newest first, fetched page by page; filters as `GET /v1/jobs` takes them."""
        for page in self._pages(JobList, "/v1/jobs", filters):
            yield from page.jobs

    def artifact(self, reference: ArtifactRef) -> bytes:
        """A file of a result, checked against its digest."""
        content = self._session.get(f"/v1/artifacts/{reference.sha256}").content
        found = hashlib.sha256(content).hexdigest()
        if found != reference.sha256:
            raise CorruptArtifact(f"{reference.name} came with digest {found}, not {reference.sha256}: fetch it again")
        return content

    def map(self, reference: ArtifactRef) -> "NDArray[np.float32]":
        """A raw map as an array; this alone needs numpy.

        Raises:
            ValueError: The file is none, for example a heatmap: `artifact` has its bytes.
        """
        import numpy as np

        content = self.artifact(reference)
        if not content.startswith(_NPY):
            raise ValueError(
                f"{reference.name} is no raw map but {reference.media_type}: `client.artifact` has its bytes; raw maps "
                "are the files of a result whose names end in .npy"
            )
        try:
            loaded: NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
        except ValueError as error:  # numpy says how to load what may run code
            raise ValueError(
                f"{reference.name} is damaged, or holds objects and not numbers: it is not read"
            ) from error
        return loaded

    def download(
        self, result: Result, folder: Path | str, *, replaced: Callable[[str], object] = lambda _job: None
    ) -> list[Path]:
        """Writes every file of a result, each under a name of its own, and the result as `result.json`, to a folder.

        A folder holds one job: files that the `result.json` of another one names there, and its `sheet.html`, are
        removed first. The new `result.json` comes last; one that is there has all of its files.

        Args:
            result: Of the job.
            folder: Made where there is none.
            replaced: Told the id of each job whose files were removed.

        Raises:
            FileExistsError: A `result.json` lies there that is no result.
        """
        return write_files(result, Path(folder), self.artifact, replaced)

    def register_model(
        self, spec: ModelSpec | Mapping[str, Any], *, weights: Source | None = None, progress: Sent | None = None
    ) -> ModelVersion:
        """Sends a model version to be checked; `weights` is the file of the part that the specification names."""
        if weights is None:
            return self._registered(json_body(spec))
        part = _weights_part(spec)
        if isinstance(weights, bytes):
            return self._registered(multipart(spec, {part: weights}))
        with CountedFile(weights, progress or (lambda _sent, _size: None)) as file:
            return self._registered(multipart(spec, {part: file}))

    def wait_for_model(self, model: str, *, timeout: float | None = None) -> ModelVersion:
        """The version once a worker has checked it: `ready`, or `refused` with the reasons in `error`.

        Raises:
            TimeoutError: No worker has checked it after `timeout` seconds.
        """
        return _checked(lambda: self.model(model), model, timeout)

    def models(self) -> list[ModelVersion]:
        """Every registered version, by name and age."""
        return [one for page in self._pages(ModelList, "/v1/models", _LONG_PAGES) for one in page.models]

    def model(self, model: str) -> ModelVersion:
        """One version, as `name@version`, or by the `name` alone the one that a job would mean."""
        return read(ModelVersion, self._session.get(_path("models", model)))

    def delete_model(self, model: str) -> None:
        """Forgets a version, given as `name@version`, that no running job uses; results stay."""
        self._session.send("DELETE", _path("models", _exact(model)))

    def model_report(self, model: str) -> ModelReport:
        """What a worker found in a version that is ready, given like `model` takes it."""
        name, _, version = model.partition("@")
        chosen = version or self.model(name).version
        return read(ModelReport, self._session.get(f"/v1/models/{name}/versions/{chosen}/report"))

    def register_dataset(
        self,
        name: str,
        archive: Source | None = None,
        *,
        location: str | None = None,
        version: str = "1",
        labels: Sequence[str] = (),
        progress: Sent | None = None,
    ) -> DatasetVersion:
        """Sends a data set to be read by a worker; sent again after an interruption it goes on where it stopped.

        Args:
            name: What jobs call it.
            archive: A zip, tar or npz file, or a folder with a folder a class, which is sent as a zip.
            location: Where workers read it themselves instead.
            version: Of the data set; it never changes.
            labels: The classes in the order of the model's outputs; the folders by name without.
            progress: Called with the bytes read so far, sent or found to be there, and with those of all files.
        """
        if (archive is None) == (location is None):
            raise ValueError("expected either archive or location")
        source: dict[str, Any] = {"location": location}
        if archive is not None:
            source = {"pieces": send_pieces(self._session, archive, progress or (lambda _done, _total: None))}
        spec = {"name": name, "version": version, "source": source, "labels": list(labels)}
        return read(DatasetVersion, self._session.send("POST", "/v1/datasets", json_body(spec), is_repeatable=True))

    def wait_for_dataset(self, dataset: str, *, timeout: float | None = None) -> DatasetVersion:
        """The version once a worker has read it: `ready`, or `refused` with the reason in `error`.

        Raises:
            TimeoutError: No worker has read it after `timeout` seconds.
        """
        return _checked(lambda: self.dataset(dataset), dataset, timeout)

    def datasets(self) -> list[DatasetVersion]:
        """Every registered data set by name and age, refused files counted and not named."""
        return [one for page in self._pages(DatasetList, "/v1/datasets", _LONG_PAGES) for one in page.datasets]

    def dataset(self, dataset: str) -> DatasetVersion:
        """One version, as `name@version`, or by the `name` alone the one that a job would mean."""
        return read(DatasetVersion, self._session.get(_path("datasets", dataset)))

    def delete_dataset(self, dataset: str) -> None:
        """Forgets a version, given as `name@version`, that no running job uses."""
        self._session.send("DELETE", _path("datasets", _exact(dataset)))

    def methods(self) -> list[MethodInfo]:
        """Every method, with the schema of its parameters."""
        return read(MethodList, self._session.get("/v1/methods")).methods

    def version(self) -> VersionInfo:
        """Which version of the service answers."""
        return read(VersionInfo, self._session.get("/v1/version"))

    def _pages(self, kind: type[Page], path: str, query: Mapping[str, str | int]) -> Iterator[Page]:
        cursor: str | None = None
        while True:
            page = read(kind, self._session.get(path, params={**query, **({"cursor": cursor} if cursor else {})}))
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    def _registered(self, body: Body) -> ModelVersion:
        return read(ModelVersion, self._session.send("POST", "/v1/models", body, is_repeatable=True))


Version = TypeVar("Version", ModelVersion, DatasetVersion)


def _checked(look: Callable[[], Version], name: str, timeout: float | None) -> Version:
    """The version once a worker has decided on it."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = POLL_S / 8
    while (version := look()).state is ModelState.CHECKING:
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError(f"{name} is still being checked after {timeout:g} s: is a worker running?")
        time.sleep(pause)
        pause = min(1.2 * pause, 2 * POLL_S)
    return version


def _path(kind: str, ref: str) -> str:
    """Where `name@version` is, or what the `name` alone means."""
    name, _, version = ref.partition("@")
    return f"/v1/{kind}/{name}/versions/{version}" if version else f"/v1/{kind}/{name}"


def _exact(ref: str) -> str:
    """A reference that names its version, as what deletes must."""
    if "@" not in ref:
        raise ValueError(f"expected name@version, given {ref!r}: what is deleted must be named exactly")
    return ref


def _weights_part(spec: ModelSpec | Mapping[str, Any]) -> str:
    """The name of the part that the specification expects the file in; without one the service says what is wrong."""
    named = spec.weights.part if isinstance(spec, ModelSpec) else spec.get("weights", {}).get("part")
    return named or "weights"
