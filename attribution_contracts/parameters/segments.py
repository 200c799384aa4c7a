"""Segments of an image as players."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from attribution_contracts.base import Wire

Label = Annotated[int, Field(ge=0, le=255, strict=True)]


class SlicSegments(Wire):
    """Superpixels of similar colour (SLIC), of each image its own."""

    kind: Literal["slic"] = "slic"
    n_segments: Annotated[int, Field(ge=2, le=256, strict=True)] = 50
    """About how many: the algorithm makes a few more or less."""
    compactness: Annotated[float, Field(ge=0.01, le=1000, strict=True)] = 10.0
    """The weight of place against colour: more makes squares."""

    @property
    def count(self) -> int:
        """How many players that asks for."""
        return self.n_segments


class GridSegments(Wire):
    """Rectangles, row by row of a grid over what the network sees."""

    kind: Literal["grid"] = "grid"
    rows: Annotated[int, Field(ge=1, le=16, strict=True)] = 7
    """From top to bottom."""
    columns: Annotated[int, Field(ge=1, le=16, strict=True)] = 7
    """From left to right."""

    @property
    def count(self) -> int:
        """How many players that asks for."""
        return self.rows * self.columns


class LabelledSegments(Wire):
    """A label map, the same for every image, stretched over what the network sees."""

    kind: Literal["labels"] = "labels"
    labels: Annotated[
        list[Annotated[list[Label], Field(min_length=1, max_length=128)]], Field(min_length=1, max_length=128)
    ]
    """Rows of labels, all as long: pixels with the same label are one player."""

    @property
    def count(self) -> int:
        """How many players that asks for."""
        return len({label for row in self.labels for label in row})

    @model_validator(mode="after")
    def _require_rectangle(self) -> "LabelledSegments":
        lengths = {len(row) for row in self.labels}
        if len(lengths) > 1:
            raise ValueError(f"labels: rows have {min(lengths)} to {max(lengths)} labels, expected all as long")
        return self


Segments = Annotated[SlicSegments | GridSegments | LabelledSegments, Field(discriminator="kind")]
