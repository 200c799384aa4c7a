"""What a data set's explanation says of each image: a row of a table."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from attribution.data_sets.strategies import map_vectors
from workers.drawing.files import Map
from workers.drawing.rendering import RenderedFile
from workers.explaining.done import Done
from workers.models.inputs import Refused
from workers.quality.told import MEASURED, told

PARQUET = "application/vnd.apache.parquet"
_FIXED = pa.schema(
    [
        ("id", pa.string()),
        ("position", pa.int64()),
        ("sha256", pa.string()),
        ("model", pa.string()),
        ("method", pa.string()),
        ("label", pa.int64()),
        ("label_name", pa.string()),
        ("label_probability", pa.float64()),
        ("prediction", pa.int64()),
        ("prediction_name", pa.string()),
        ("probability", pa.float64()),
        ("right", pa.bool_()),
        ("target", pa.int64()),
        ("explained", pa.string()),
        ("output", pa.float64()),
        ("baseline_output", pa.float64()),
        ("sum", pa.float64()),
        ("warnings", pa.string()),
        ("error_code", pa.string()),
        ("error", pa.string()),
        ("maps_file", pa.string()),
        ("maps_row", pa.int64()),
        ("maps_href", pa.string()),
        ("vector", pa.list_(pa.float32())),
    ]
)
"""What every row has; figures follow, and each number of the vector by itself."""
_CELL = "e_{:03d}"


class Rows:
    """The rows of one part."""

    def __init__(self, *, model: str, method: str, names: Sequence[str], labels: Sequence[str], side: int) -> None:
        self._same = {"model": model, "method": method}
        self._names, self._labels, self._side = names, labels, side
        self._rows: list[dict[str, Any]] = []

    def add(self, done: Done, standing: Map | None) -> None:
        """An image that was explained.

        Args:
            done: What is known of it.
            standing: The map that stands for the method.
        """
        [first, *_] = done.prediction
        assert done.label is not None  # noqa: S101 - every image of a data set has a class
        target = done.targets[0] if done.targets else None
        row = {
            "prediction": first.index,
            "prediction_name": first.name,
            "probability": first.probability,
            "label_probability": done.label.probability,
            "right": first.index == done.label.index,
            "target": target and target.index,
            "explained": target and target.said,
            "output": target and target.output,
            "baseline_output": target and target.baseline_output,
            "sum": target and target.sum,
            "warnings": "; ".join(dict.fromkeys(warning.code for warning in done.figures.warnings)),
        }
        vector = None
        if standing is not None:
            vector = map_vectors(torch.from_numpy(standing.values)[None], self._side)[0].tolist()
            row |= {_CELL.format(number): value for number, value in enumerate(vector)}
        self._rows.append(self._head(done.row.position, done.row.sha256, done.row.true_class) | row)
        self._rows[-1] |= {"vector": vector, **dict(_figures(done))}

    def refuse(self, refused: Refused) -> None:
        """An image that was not."""
        label = refused.given.label if isinstance(refused.given.label, int) else None
        error = {"error_code": refused.error.code.value, "error": refused.error.detail}
        self._rows.append(self._head(refused.position, refused.sha256, label) | error)

    def table(self, maps: RenderedFile | None, first: int) -> pa.Table:
        """All rows in the order of the data set.

        Args:
            maps: The file of the part's maps; nothing where none are kept.
            first: Position in the data set of the part's first image.
        """
        self._rows.sort(key=lambda row: row["position"])
        href = None if maps is None else f"/v1/artifacts/{hashlib.sha256(maps.content).hexdigest()}"
        for row in self._rows:
            if maps is not None and "error" not in row:
                row |= {"maps_file": maps.name, "maps_row": row["position"] - first, "maps_href": href}
        more = dict.fromkeys(name for row in self._rows for name in row if name not in _FIXED.names)
        figures = sorted(name for name in more if not name.startswith("e_"))
        cells = sorted(name for name in more if name.startswith("e_"))
        types = [(name, pa.float64()) for name in figures] + [(name, pa.float32()) for name in cells]
        schema = pa.schema([*_FIXED, *types])
        return pa.table({name: [row.get(name) for row in self._rows] for name in schema.names}, schema=schema)

    def _head(self, position: int, sha256: str, label: int | None) -> dict[str, Any]:
        name = self._labels[label] if label is not None and self._labels else None
        place = {"id": self._names[position], "position": position, "sha256": sha256}
        return {**place, **self._same, "label": label, "label_name": name}


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of all parts; a figure that a part does not have is missing there."""
    table = pa.concat_tables(tables, promote_options="default")
    return table.select([*_FIXED.names, *figures_in(table), *sorted(set(table.column_names) & set(_cells(table)))])


def figures_in(table: pa.Table) -> list[str]:
    """The columns that hold figures of quality."""
    return sorted(set(table.column_names) - set(_FIXED.names) - set(_cells(table)))


def written(table: pa.Table) -> bytes:
    """The table as Parquet, the same bytes for the same rows."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def read(content: bytes) -> pa.Table:
    """The table that was written."""
    return pq.read_table(io.BytesIO(content))


def _cells(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name.startswith("e_")]


def _figures(done: Done) -> Iterator[tuple[str, float | None]]:
    """The figures of an image: of the first explained class, of its first map and of what that is compared with."""
    for completeness in done.figures.wire.get("completeness", [])[:1]:
        relative = completeness.relative
        yield "completeness_error", None if relative is None else abs(relative)
    seen = set[tuple[str, str]]()
    for one in told({field: done.measured.get(field, ()) for field in MEASURED}):
        if (one.name, one.judged) not in seen:
            seen.add((one.name, one.judged))
            yield one.name + ("" if one.judged == "map" else f"_{one.judged}"), one.value
