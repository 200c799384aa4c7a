"""Settings, read once from the environment by an entry point and passed down."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    DirectoryPath,
    Field,
    PlainSerializer,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from attribution_contracts.patterns import DEVICE
from storage.amounts import DAYS, amount, size, size_with_unit
from storage.urls import require_broker, require_ledger, require_store, with_password

Seconds = Annotated[float, Field(gt=0)]
Size = Annotated[int, BeforeValidator(size), Field(gt=0)]
KeptSize = Annotated[int, BeforeValidator(size_with_unit), Field(gt=0), PlainSerializer("{}B".format)]
Password = Annotated[SecretStr, Field(min_length=1)]
DatasetPrefix = Annotated[str, StringConstraints(pattern=r"^(?:file:///|s3://).+")]
MiB = 1024 * 1024
_READERS = {"database_url": require_ledger, "broker_url": require_broker, "artifact_url": require_store}


class Settings(BaseSettings):
    """Everything an operator can set, each as `ATTRIBUTION_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix="ATTRIBUTION_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    data_dir: Path = Path(".attribution")
    """Folder of the SQLite ledger, local artefacts and the private broker, where no URL says otherwise."""
    config_file: Path | None = None
    """TOML file with the operator's models and factories."""
    secrets_dir: DirectoryPath | None = None
    """Folder of files that each hold one setting and are named like its variable in lower case; variables win."""
    database_password: Password | None = None
    """Password of `database_url`, where that has none."""
    broker_password: Password | None = None
    """Password of `broker_url`, where that has none."""
    database_url: SecretStr | None = None
    """SQLAlchemy URL of the ledger, for example `postgresql+psycopg://user@host/name`; default SQLite in `data_dir`."""
    artifact_url: str | None = None
    """fsspec URL of the artefact store, for example `s3://bucket/prefix`; default a folder in `data_dir`."""
    broker_url: SecretStr | None = None
    """`redis://`, `rediss://`, `redis+socket://`, `valkey://` or `amqp://`; default a private server."""

    host: str = "127.0.0.1"
    """Address that the gateway listens on; of a name such as `localhost`, all that it has."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port that the gateway listens on; 0 takes a free one."""
    max_body_bytes: Size = 64 * MiB
    """Largest request body, uploads included."""
    max_bodies_bytes: Size = 512 * MiB
    """Request bodies that a gateway holds at once, of all clients together; beyond that it answers 503."""
    max_model_bytes: Size = 2048 * MiB
    """Largest body of a model's registration."""
    max_dataset_bytes: Size = 50_000_000_000
    """Largest data set: the body that brings it, and its files after decompression."""
    max_dataset_files: Annotated[int, Field(gt=0)] = 1_000_000
    """Largest number of entries in a data set's archive."""
    max_dataset_file_bytes: Size = 50_000_000
    """Largest single file of a data set; a larger one is left out and reported."""
    dataset_locations: tuple[DatasetPrefix, ...] = ()
    """JSON list of the `file://` and `s3://` prefixes that data sets may be read from; none unless set."""
    max_image_pixels: Annotated[int, Field(gt=0)] = 50_000_000
    """Largest image, in pixels after decoding."""
    max_maps: Annotated[int, Field(gt=0)] = 512
    """Most maps of one explanation: of each image and target those of each layer and quantity, raw layer and pixel."""
    max_work: Annotated[float, Field(gt=0)] = 5e11
    """Most pixels that one explanation may send through a network, both ways: 10 million passes of 224 x 224."""

    lease_s: Seconds = 30.0
    """A worker that has not renewed its lease for this long has lost its job."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """How often a job is started before it fails; a start that an outage of store or ledger ended is not counted."""
    retry_s: Annotated[float, Field(ge=0)] = 1.0
    """Pause before a failed job is tried again; twice as long each time, up to a minute, half of it at random."""
    reconcile_s: Seconds = 2.0
    """Pause between two rounds of the reconciler."""
    republish_grace_s: Seconds = 5.0
    """A queued job is left to its own message for this long."""
    keep_jobs_days: Annotated[float, Field(gt=0)] | None = None
    """Jobs that ended so many days ago (`30`, `12h`) are deleted with all that only they used; none keeps them."""
    keep_bytes: KeptSize | None = None
    """Where artefacts take more (`20GB`; a unit is needed), the jobs that ended first are deleted; none keeps them."""
    keep_unused_s: Seconds = 24 * 3600.0
    """An upload that no job, model or data set has used for so long is deleted."""
    sweep_s: Seconds = 600.0
    """Pause between two sweeps, which delete what is kept no longer, of all reconcilers together."""
    job_time_limit_s: Seconds = 3600.0
    """A job that runs longer fails; one that is deaf to that is killed, and its attempt is spent."""
    batch_images: Annotated[int, Field(ge=1)] = 16
    """Images of one job that a worker explains together."""
    model_cache_models: Annotated[int, Field(ge=1)] = 4
    """Networks that a worker keeps loaded."""
    model_cache_bytes: Size = 8192 * MiB
    """Parameters and buffers that a worker keeps loaded, in bytes."""
    max_parameters: Annotated[int, Field(gt=0)] = 700_000_000
    """Largest network that may be registered, in parameters."""
    check_bytes: Size = 4096 * MiB
    """Memory that a model's check may take for what the network computes of images; larger images are refused."""
    device: Annotated[str, StringConstraints(pattern=DEVICE)] = "auto"
    """`auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:0`."""
    torch_threads: Annotated[int, Field(ge=1)] = 1
    """Threads of one CPU worker."""
    preload: bool = True
    """Whether a worker imports torch before its first job."""
    allow_faults: bool = False
    """Whether clients may submit self-tests that kill, hang or exhaust a worker: for tests of a service alone."""
    disabled_methods: Annotated[tuple[str, ...], NoDecode] = ()
    """Ids of methods, separated by commas (`lrp,deeplift`), that catalogue, service and workers go without."""
    kept_gradient_bytes: Size = 2048 * MiB
    """Memory for the gradients that `tolerance` keeps; what needs more is explained in slices."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Workers that `attribution serve` starts."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""

    @field_validator("keep_jobs_days", mode="before")
    @classmethod
    def _in_days(cls, given: object) -> object:
        return amount(given, DAYS, "30d or 12h") if isinstance(given, str) else given

    @field_validator("disabled_methods", mode="before")
    @classmethod
    def _in_a_list(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        # The processes of a tree are told as they are told other lists.
        text = given.strip().removeprefix("[").removesuffix("]")
        return tuple(filter(None, (one.strip().strip('"') for one in text.split(","))))

    @field_validator("disabled_methods")
    @classmethod
    def _are_methods(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if not given:
            return ()
        from attribution_contracts.methods import CAN_BE_DISABLED  # takes a moment that most processes can do without

        unknown = [one for one in given if one not in CAN_BE_DISABLED]
        if unknown:
            raise ValueError(
                f"no method is called {', '.join(unknown)}: expected some of {', '.join(CAN_BE_DISABLED)}, separated by"
                " commas"
            )
        return tuple(dict.fromkeys(given))

    @field_validator("data_dir")
    @classmethod
    def _is_folder(cls, folder: Path) -> Path:
        for one in (path := folder.expanduser().absolute(), *path.parents):
            if one.exists() and not one.is_dir():
                raise ValueError(f"{one} is a file, expected a folder (or one that can be made): choose another")
        return folder

    @field_validator("database_url", "broker_url", "artifact_url")
    @classmethod
    def _is_read(cls, url: SecretStr | str | None, info: ValidationInfo) -> SecretStr | str | None:
        if url is not None:
            text = url.get_secret_value() if isinstance(url, SecretStr) else url
            _READERS[str(info.field_name)](text)
        return url

    @field_validator("database_url", "broker_url")
    @classmethod
    def _with_password(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        password = info.data.get(f"{str(info.field_name).removesuffix('_url')}_password")
        if url is None or password is None:
            return url
        return SecretStr(with_password(url.get_secret_value(), password.get_secret_value()))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the environment alone is read
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Adds the files in `secrets_dir` after what was given and the environment."""
        folder = init_settings().get("secrets_dir") or env_settings().get("secrets_dir")
        files = NestedSecretsSettingsSource(file_secret_settings, secrets_dir=folder, secrets_dir_missing="ok")
        return init_settings, env_settings, files

    @property
    def resolved_data_dir(self) -> Path:
        """The data folder as an absolute path."""
        return self.data_dir.expanduser().resolve()

    @property
    def resolved_database_url(self) -> str:
        """The ledger's URL, secrets included."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.resolved_data_dir / 'ledger.sqlite'}"

    @property
    def resolved_artifact_url(self) -> str:
        """The artefact store's URL."""
        return self.artifact_url or str(self.resolved_data_dir / "artifacts")
