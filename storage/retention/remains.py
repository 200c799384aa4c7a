"""What artefacts take, and for what: models and data sets are not deleted to make room."""

from dataclasses import dataclass

from sqlalchemy import Engine, func, select

from storage.database import reading
from storage.retention.release import Freed
from storage.tables import artifacts, datasets, models, version_artifacts


@dataclass(frozen=True)
class Remains:
    """Bytes of artefacts; what a model and a data set share counts for the model."""

    models: int = 0
    datasets: int = 0
    others: int = 0
    """Of jobs, their results and uploads."""

    @property
    def bytes(self) -> int:
        """All together."""
        return self.models + self.datasets + self.others

    @property
    def lasting(self) -> int:
        """What no job makes room for."""
        return self.models + self.datasets

    def without(self, freed: Freed) -> "Remains":
        """What would remain: models and data sets keep what they have."""
        return Remains(self.models, self.datasets, self.others - freed.bytes)


def remains(engine: Engine) -> Remains:
    """What artefacts take now that the ledger knows of; the same bytes of two tenants are there once."""
    named = artifacts.outerjoin(version_artifacts, version_artifacts.c.sha256 == artifacts.c.sha256)
    size, registry = func.max(artifacts.c.size).label("size"), func.max(version_artifacts.c.registry).label("registry")
    each = select(size, registry).select_from(named).group_by(artifacts.c.sha256).subquery()
    with reading(engine) as connection:
        rows = connection.execute(select(each.c.registry, func.sum(each.c.size)).group_by(each.c.registry)).all()
    sizes = {row[0]: int(row[1]) for row in rows}
    mine = {table.name: sizes.pop(table.name, 0) for table in (models, datasets)}
    return Remains(mine[models.name], mine[datasets.name], sum(sizes.values()))


def shortfall(found: Remains, most: int | None) -> str | None:
    """What is said where more remains than was granted; nothing where it does not."""
    if most is None or found.bytes <= most:
        return None
    if found.lasting > most:
        return (
            f"that is more than the {size_in_words(most)} that were granted, and no job can make room for it: models "
            f"and data sets need {size_in_words(found.lasting)}; delete some (`attribution models delete`, "
            "`attribution datasets delete`), or grant more"
        )
    return (
        f"that is more than the {size_in_words(most)} that were granted: the rest belongs to jobs that have not ended, "
        "and to uploads that may be about to be used"
    )


def size_in_words(count: int) -> str:
    """Bytes in the unit that suits them."""
    size, units = float(count), iter(("bytes", "kB", "MB", "GB"))
    unit = next(units)
    while size >= 1000 and unit != "GB":
        size, unit = size / 1000, next(units)
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
