"""Everything that a client may send is described in the JSON schema."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Literal, get_origin

import pytest
from pydantic.fields import FieldInfo

import attribution_contracts
from attribution_contracts.base import Wire
from attribution_contracts.datasets import DatasetSpec
from attribution_contracts.jobs import JobRequest
from attribution_contracts.models import ModelSpec


def all_models(root: type[Wire] = Wire) -> Iterator[type[Wire]]:
    for found in pkgutil.iter_modules(attribution_contracts.__path__):
        importlib.import_module(f"attribution_contracts.{found.name}")
    for model in root.__subclasses__():
        yield model
        yield from all_models(model)


def is_tag(field: FieldInfo) -> bool:
    """Whether the field is a literal that tells variants apart, which the docstrings of these explain."""
    return get_origin(field.annotation) is Literal and len(field.annotation.__args__) == 1


MODELS = sorted(set(all_models()), key=lambda model: (model.__module__, model.__name__))
SENT = {
    name: schema["properties"]
    for request in (JobRequest, ModelSpec, DatasetSpec)
    for name, schema in [(request.__name__, request.model_json_schema()), *request.model_json_schema()["$defs"].items()]
    if "properties" in schema
}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_says_what_it_is(model: type[Wire]) -> None:
    assert model.__doc__
    assert model.__doc__ != Wire.__doc__
    assert model.model_json_schema()["description"].startswith(model.__doc__.splitlines()[0])


@pytest.mark.parametrize("name", SENT)
def test_every_field_that_is_sent_says_what_it_is(name: str) -> None:
    [model] = [one for one in MODELS if one.__name__ == name]
    undescribed = {field for field, info in model.model_fields.items() if not info.description and not is_tag(info)}
    assert undescribed == set()
    for field, info in model.model_fields.items():
        assert is_tag(info) or repr(info.description)[1:-1] in str(SENT[name][field])


def test_no_description_is_said_twice_within_a_model() -> None:
    for model in MODELS:
        said = [info.description for info in model.model_fields.values() if info.description]
        assert len(said) == len(set(said)), model.__name__
