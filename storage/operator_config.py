"""The operator's configuration file: models to register at start, and factories of their own networks."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from attribution_contracts.base import Sha256, Wire
from attribution_contracts.models import ModelSpec, Weights

Target = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


class ConfigError(Exception):
    """The configuration cannot be used: the file, or what settings say together."""


class WeightsFile(Wire):
    """A safetensors file on the operator's disk and the digest it must have."""

    path: Path
    sha256: Sha256


class ConfiguredModel(Wire):
    """A model that `attribution serve` and `attribution models sync` register; `weights_file` stands for `weights`."""

    weights_file: WeightsFile | None = None
    spec: ModelSpec


class OperatorConfig(Wire):
    """What the operator vouches for."""

    factories: dict[Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]{1,64}$")], Target] = {}
    """`name = "package.module:function"`: the function takes the model's options and returns an `nn.Module`."""
    models: Annotated[list[ConfiguredModel], Field(max_length=1000)] = []

    @property
    def artifacts(self) -> frozenset[Sha256]:
        """What its models are made of: kept for them, also before they are registered."""
        named = {entry.spec.weights.sha256 for entry in self.models} - {None}
        sets = (images for entry in self.models for images in entry.spec.backgrounds.values())
        return frozenset(filter(None, named.union(*sets)))


def load_config(path: Path | None) -> OperatorConfig:
    """The configuration, empty where there is no file.

    A model is a table `[[models]]` with the fields of its specification, and either `weights` or `weights_file`.

    Raises:
        ConfigError: The file is missing, is no TOML, or has a wrong field.
    """
    if path is None:
        return OperatorConfig()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        raw["models"] = [_configured(entry, path.parent) for entry in raw.get("models", [])]
        return OperatorConfig.model_validate(raw)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"configuration file {path}: {error}") from error


def _configured(entry: dict[str, object], folder: Path) -> ConfiguredModel:
    fields = dict(entry)
    given = fields.pop("weights_file", None)
    if given is None:
        return ConfiguredModel(spec=ModelSpec.model_validate(fields))
    file = WeightsFile.model_validate(given)
    file = file.model_copy(update={"path": folder / file.path})
    weights = Weights(sha256=file.sha256)
    return ConfiguredModel(weights_file=file, spec=ModelSpec.model_validate(fields | {"weights": weights.model_dump()}))
