"""What every model on the wire has in common."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints

from attribution_contracts.patterns import LABEL_KEY, MODEL_REF, NAME, NO_NUL, SHA256


class Wire(BaseModel):
    """A frozen message that refuses fields it does not know and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def form_of(words: Sequence[str], forms: Mapping[str, type[Wire]], expected: str) -> Discriminator:
    """Tells the forms of a field apart, so that an error is about the one that was meant.

    Args:
        words: What the form with the tag `word` may be.
        forms: Form of an object by a key that only it has; its tag is its name. That of a list is `list`.
        expected: What to say of anything else.
    """

    def form(value: object) -> str | None:
        if isinstance(value, Wire):
            return type(value).__name__
        if isinstance(value, Mapping):
            return next((kind.__name__ for key, kind in forms.items() if key in value), None)
        if isinstance(value, list):
            return "list"
        return "word" if value in words else None

    return Discriminator(form, custom_error_type="form", custom_error_message=expected)


Sha256 = Annotated[str, StringConstraints(pattern=SHA256)]
"""A SHA-256 digest as 64 lower-case hexadecimal digits."""

Name = Annotated[str, StringConstraints(pattern=NAME)]
"""A name of 1 to 64 lower-case letters, digits, dots, dashes and underscores."""

ModelRef = Annotated[
    str,
    StringConstraints(pattern=MODEL_REF),
    Field(examples=["digits", "digits@1"]),
]
"""`name` (its newest version that is ready) or `name@version`."""

ClassIndex = Annotated[int, Field(ge=0, lt=1_000_000, strict=True)]
ClassName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY)]
LabelValue = Annotated[str, StringConstraints(max_length=200, pattern=NO_NUL)]


def require_one_of(given: BaseModel, *fields: str) -> None:
    """Accepts a message with exactly one of some fields.

    Raises:
        ValueError: It has none of them, or several.
    """
    found = [name for name in fields if getattr(given, name) is not None]
    if len(found) != 1:
        raise ValueError(f"expected exactly one of {', '.join(fields)}; given: {', '.join(found) or 'none'}")
