"""The operator's configuration file: models to register at start, and factories of their own networks."""

import importlib.machinery
import importlib.util
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from attribution_contracts.base import Sha256, Wire
from attribution_contracts.hints import told
from attribution_contracts.models import ModelSpec
from attribution_contracts.patterns import FACTORY, FACTORY_TARGET

Target = Annotated[str, StringConstraints(pattern=FACTORY_TARGET)]


class ConfigError(Exception):
    """The configuration cannot be used: the file, or what settings say together."""


class WeightsFile(Wire):
    """A safetensors or ONNX file on the operator's disk and the digest it must have."""

    path: Path
    sha256: Sha256


class ConfiguredModel(Wire):
    """A model that `attribution serve` and `attribution models sync` register; `weights_file` stands for `weights`."""

    weights_file: WeightsFile | None = None
    spec: ModelSpec


class OperatorConfig(Wire):
    """What the operator vouches for."""

    factories: dict[Annotated[str, StringConstraints(pattern=FACTORY)], Target] = {}
    """`name = "package.module:function"`: the function takes the model's options and returns an `nn.Module`."""
    models: Annotated[list[ConfiguredModel], Field(max_length=1000)] = []

    @property
    def artifacts(self) -> frozenset[Sha256]:
        """What its models are made of: kept for them, also before they are registered."""
        named = {entry.spec.weights.sha256 for entry in self.models} - {None}
        sets = (images for entry in self.models for images in entry.spec.backgrounds.values())
        return frozenset(filter(None, named.union(*sets)))


class _Table(ModelSpec):
    """What a table `[[models]]` may hold."""

    weights_file: WeightsFile | None = None


_SOME = {"sha256": "0" * 64}
"""Weights that stand for those of a file, which has its own place in messages."""


def load_config(path: Path | None) -> OperatorConfig:
    """The configuration, empty where there is no file.

    A model is a table `[[models]]` with the fields of its specification, and either `weights` or `weights_file`.

    Raises:
        ConfigError: The file is missing, is no TOML, or has wrong fields; the message names each.
    """
    if path is None:
        return OperatorConfig()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"configuration file {path}: {error}") from error
    tables, wrong, models, config = raw.pop("models", []), list[str](), list[ConfiguredModel](), OperatorConfig()
    if not (isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
        tables, wrong = [], ["models: expected tables, each under a line [[models]]"]
    with _noting(wrong, "", OperatorConfig):
        config = OperatorConfig.model_validate(raw)
    for number, table in enumerate(tables, 1):
        with _noting(wrong, f"model {table.get('name', number)!r}, ", _Table):
            models.append(_configured(table, path.absolute().parent))
    if wrong:
        raise ConfigError("\n  ".join([f"configuration file {path}:", *wrong]))
    return config.model_copy(update={"models": models})


def lacking_factories(factories: Mapping[str, str]) -> Iterator[str]:
    """What is said of factories whose module this process would not find; nothing is imported to find out."""
    for name, target in factories.items():
        module = target.partition(":")[0]
        if (lacking := _lacking(module)) is not None:
            reason = f"there is no module {lacking!r}"
            yield f"the factory {name!r} cannot be imported here: {reason}; {where_to_mend(module)}"


def where_to_mend(module: str) -> str:
    """What to do about a module of a factory that a worker does not find."""
    package = module.partition(".")[0]
    return (
        f"the PYTHONPATH of every worker must name the folder that has {package!r}, or `factories` in "
        "ATTRIBUTION_CONFIG_FILE another module"
    )


def _lacking(module: str) -> str | None:
    """The first part of a dotted name that there is no module for."""
    first, *others = module.split(".")
    found, name = importlib.util.find_spec(first), first
    for part in others:
        if found is None:
            break
        name = f"{name}.{part}"
        # Not `importlib.util.find_spec`, which imports the packages on the way, and they may import torch.
        folders = found.submodule_search_locations
        found = None if folders is None else importlib.machinery.PathFinder.find_spec(name, folders)
    return name if found is None else None


def _configured(entry: Mapping[str, object], folder: Path) -> ConfiguredModel:
    table = _Table.model_validate({"weights": _SOME, **entry})
    if ("weights" in entry) is ("weights_file" in entry):
        raise ConfigError("expected either weights or weights_file = { path = FILE, sha256 = DIGEST }")
    fields = {name: value for name, value in entry.items() if name != "weights_file"}
    if (file := table.weights_file) is None:
        return ConfiguredModel(spec=ModelSpec.model_validate(fields))
    spec = ModelSpec.model_validate(fields | {"weights": {"sha256": file.sha256}})
    return ConfiguredModel(weights_file=file.model_copy(update={"path": folder / file.path}), spec=spec)


@contextmanager
def _noting(wrong: list[str], where: str, model: type[BaseModel]) -> Iterator[None]:
    """Notes what is wrong with a part of the file, with its place, and goes on."""
    try:
        yield
    except ConfigError as error:
        wrong.append(f"{where}{error}")
    except ValidationError as error:
        for item in error.errors(include_url=False):
            place = ".".join(str(step) for step in item["loc"] if step != "[key]")
            given = f" (given: {item['input']!r})" if isinstance(item["input"], str | int | float) else ""
            wrong.append(f"{where}{place}{': ' if place else ''}{told(item, model=model)}{given}")
