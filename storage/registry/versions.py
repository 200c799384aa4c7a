"""What the registries of models and data sets share: versions are entered, decided on by a worker, never changed."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from attribution_contracts.base import Wire
from attribution_contracts.problems import Problem
from attribution_contracts.states import TERMINAL, ModelState
from storage.clock import NOW
from storage.database import reading, writing
from storage.ledger.jobs import enter
from storage.ledger.records import NewJob
from storage.ledger.statements import hold_entered, insert_missing
from storage.paging import INSTANT, Order
from storage.tables import artifacts, jobs, retired, version_artifacts

SHOWN_JOBS = 5
NEAR = 500
"""Versions on each side that are looked at for a hint, however many there are."""
_NAME = r"[a-z0-9._-]{1,64}"
_BY_NAME_AND_AGE = Order(name=_NAME, created_at=INSTANT, version=_NAME)


class VersionExistsError(Exception):
    """The version is registered already, with another content, or was before it was deleted."""


class VersionInUseError(Exception):
    """A version that jobs use cannot be deleted."""


def live_jobs(connection: Connection, tenant: str, is_user: ColumnElement[bool]) -> list[str]:
    """Those of a tenant's jobs that a condition means and that have not ended, the oldest first."""
    is_live = and_(jobs.c.tenant == tenant, jobs.c.status.not_in([status.value for status in TERMINAL]))
    return list(connection.scalars(select(jobs.c.id).where(is_live, is_user).order_by(jobs.c.created_at, jobs.c.id)))


class ByReference:
    """A query for what a reference means, built once for every job that makes one."""

    def __init__(self, table: Table, *columns: Any) -> None:  # noqa: ANN401 - as `select` takes them
        mine = select(*columns).where(table.c.tenant == bindparam("tenant"), table.c.name == bindparam("name"))
        is_ready = table.c.state == ModelState.READY.value
        self._newest = mine.order_by(is_ready.desc(), table.c.created_at.desc()).limit(1)
        self._exact = mine.where(table.c.version == bindparam("version"))

    def named(self, tenant: str, ref: str) -> tuple[Select[Any], dict[str, str]]:
        """The query and its values for `name@version`, or for the newest ready one of `name`."""
        name, _, version = ref.partition("@")
        if version:
            return self._exact, {"tenant": tenant, "name": name, "version": version}
        return self._newest, {"tenant": tenant, "name": name}


class Registry:
    """The versions in one table."""

    def __init__(self, table: Table, noun: str, *, retires: bool = False) -> None:
        """Over a table.

        Args:
            table: Of the versions.
            noun: What a version is one of, in messages.
            retires: Whether a deleted version's name stays taken for what it had been.
        """
        self._table, self._noun, self._retires = table, noun, retires
        # A version outlives the job that decided on it: retention deletes that one, and nobody finds it then.
        there = select(jobs.c.id).where(jobs.c.id == table.c.job_id).scalar_subquery().label("check_job")
        self._shown = select(table, there)
        self._whole = ByReference(table, table, there)

    def register(
        self,
        engine: Engine,
        tenant: str,
        spec: Wire,
        sha256: str,
        check: NewJob,
        *,
        artifact: str | None = None,
        needs: Collection[str] = (),
    ) -> tuple[RowMapping, bool]:
        """Enters a version and the job that decides on it in one transaction.

        Args:
            engine: The ledger's.
            tenant: Whose version it is.
            spec: What is registered; it has `name` and `version`.
            sha256: Digest of what is registered: the same may be registered again, a refused version replaced.
            check: The job that decides.
            artifact: The file it comes from.
            needs: Artefacts that are kept for as long as the version is there.

        Returns:
            The version, and whether it is new.

        Raises:
            VersionExistsError: The version has another content.
        """
        document = spec.model_dump(mode="json")
        chosen = self.is_one(tenant, document["name"], document["version"])
        row = {
            "tenant": tenant,
            "name": document["name"],
            "version": document["version"],
            "sha256": sha256,
            "artifact": artifact,
            "state": ModelState.CHECKING.value,
            "spec": document,
            "report": None,
            "error": None,
            "job_id": check.id,
            "created_at": NOW,
        }
        look = self._shown.where(chosen)
        try:
            with writing(engine) as connection:
                # Held, so that only one of several replaces a refused version.
                known = connection.execute(look.with_for_update()).mappings().first()
                if known is not None and known["state"] != ModelState.REFUSED:
                    return self._require_same(known, row), False
                self._require_not_retired(connection, row)
                if known is None:
                    connection.execute(insert(self._table).values(row))
                else:
                    connection.execute(update(self._table).where(chosen).values(row))
                connection.execute(delete(version_artifacts).where(self._needs_of(tenant, row["name"], row["version"])))
                self.need(connection, row, needs)
                enter(connection, check, use_cache=False)
                return connection.execute(look).mappings().one(), True
        except IntegrityError:  # another process registered the version between our look and our insert
            with reading(engine) as connection:
                row_now = connection.execute(look).mappings().one()
            return self._require_same(row_now, row), False

    def find(self, engine: Engine, tenant: str, ref: str) -> RowMapping | None:
        """The version that `name@version` names, or the newest ready one of `name` (the newest if none is ready)."""
        with reading(engine) as connection:
            return connection.execute(*self._whole.named(tenant, ref)).mappings().first()

    def page(
        self, engine: Engine, tenant: str, name: str | None, *, cursor: str | None, limit: int
    ) -> tuple[Sequence[RowMapping], str | None]:
        """One page of the versions, of one name or of all, by name and age, and the cursor of the next.

        Raises:
            ValueError: The cursor is none of ours.
        """
        columns = self._table.c
        query = self._shown.where(columns.tenant == tenant)
        # Of one name the index is followed from there on: SQLite sorts what is ordered by a constant too.
        start = 0 if name is None else 1
        key = (columns.name, columns.created_at, columns.version)[start:]
        if name is not None:
            query = query.where(columns.name == name)
        if cursor is not None:
            last_name, created_at, version = _BY_NAME_AND_AGE.decode(cursor)
            query = query.where(tuple_(*key) > (last_name, float(created_at), version)[start:])
        query = query.order_by(*key).limit(limit + 1)
        with reading(engine) as connection:
            rows = connection.execute(query).mappings().all()
        return _BY_NAME_AND_AGE.cut(rows, limit)

    def near(self, engine: Engine, tenant: str, name: str) -> list[tuple[str, str, ModelState]]:
        """Name, version and state of the versions whose names stand next to one, some before and some after it."""
        columns = self._table.c
        shown = select(columns.name, columns.version, columns.state).where(columns.tenant == tenant)
        sides = (
            shown.where(columns.name < name).order_by(columns.name.desc(), columns.version.desc()),
            shown.where(columns.name >= name).order_by(columns.name, columns.version),
        )
        with reading(engine) as connection:
            rows = [row for side in sides for row in connection.execute(side.limit(NEAR))]
        return [(row.name, row.version, ModelState(row.state)) for row in rows]

    def accept(
        self,
        connection: Connection,
        tenant: str,
        check_job: str,
        report: Wire,
        *,
        needs: Collection[str] = (),
        **more: str,
    ) -> None:
        """Makes the version that the job decided on ready; part of the transaction that finishes the job."""
        ready = {"state": ModelState.READY.value, "report": report.model_dump(mode="json"), **more}
        for row in self._decide(connection, tenant, check_job, ready):
            self.need(connection, dict(row), needs)

    def refuse(self, connection: Connection, tenant: str, check_job: str, reason: Problem) -> None:
        """Refuses the version that the job decided on; part of the transaction that finishes the job."""
        error = reason.model_dump(mode="json", exclude_none=True)
        self._decide(connection, tenant, check_job, {"state": ModelState.REFUSED.value, "error": error})

    def is_one(self, tenant: str, name: str, version: str) -> ColumnElement[bool]:
        """The condition of one version."""
        columns = self._table.c
        return and_(columns.tenant == tenant, columns.name == name, columns.version == version)

    def remove(
        self,
        engine: Engine,
        tenant: str,
        name: str,
        version: str,
        users: Callable[[Connection, RowMapping], Sequence[str]],
    ) -> bool:
        """Forgets a version and what it needs, where `users` names no jobs that use it; False where there is none.

        Raises:
            VersionInUseError: There are such jobs: the message names them.
        """
        chosen = self.is_one(tenant, name, version)
        with writing(engine) as connection:
            row = connection.execute(select(self._table).where(chosen).with_for_update()).mappings().first()
            if row is None:
                return False
            if using := users(connection, row):
                raise VersionInUseError(f"{self._noun} {name}@{version} {_used(using, row['job_id'])}")
            if self._retires and row["state"] == ModelState.READY:
                insert_missing(connection, retired, [{**self._key(dict(row)), "sha256": row["sha256"]}])
            connection.execute(delete(self._table).where(chosen))
            connection.execute(delete(version_artifacts).where(self._needs_of(tenant, name, version)))
        return True

    def needs_of(self, engine: Engine, tenant: str, name: str, version: str) -> tuple[dict[str, float], str | None]:
        """What is kept for a version, with the time at which each was entered, and the job that decided on it."""
        job = select(self._table.c.job_id).where(self.is_one(tenant, name, version))
        with reading(engine) as connection:
            return self._needs(connection, tenant, name, version), connection.scalar(job)

    def _needs(self, connection: Connection, tenant: str, name: str, version: str) -> dict[str, float]:
        mine = and_(artifacts.c.tenant == version_artifacts.c.tenant, artifacts.c.sha256 == version_artifacts.c.sha256)
        query = select(artifacts.c.sha256, artifacts.c.created_at).select_from(version_artifacts.join(artifacts, mine))
        rows = connection.execute(query.where(self._needs_of(tenant, name, version)))
        return {row.sha256: row.created_at for row in rows}

    def _needs_of(self, tenant: str, name: str, version: str) -> ColumnElement[bool]:
        columns = version_artifacts.c
        return and_(
            columns.tenant == tenant,
            columns.registry == self._table.name,
            columns.name == name,
            columns.version == version,
        )

    def need(self, connection: Connection, row: Mapping[str, Any], digests: Collection[str]) -> None:
        """Keeps artefacts for as long as the version of a row is there."""
        if digests:
            hold_entered(connection)
        key = self._key(row)
        insert_missing(connection, version_artifacts, [{**key, "sha256": digest} for digest in sorted(digests)])

    def _key(self, row: Mapping[str, Any]) -> dict[str, str]:
        return {name: row[name] for name in ("tenant", "name", "version")} | {"registry": self._table.name}

    def _require_not_retired(self, connection: Connection, row: Mapping[str, Any]) -> None:
        """Accepts a version whose name never stood for another one.

        Raises:
            VersionExistsError: It was, before that was deleted.
        """
        key = self._key(row)
        before = select(retired.c.sha256).where(*(retired.c[name] == value for name, value in key.items()))
        if connection.scalar(before) not in {None, row["sha256"]}:
            raise VersionExistsError(
                f"{self._noun} {row['name']} had a version {row['version']} with another content before it was "
                "deleted: jobs and results name that one, register this one under a new version"
            )

    def _decide(self, connection: Connection, tenant: str, check_job: str, values: dict[str, Any]) -> list[RowMapping]:
        mine = and_(self._table.c.tenant == tenant, self._table.c.job_id == check_job)
        key = (self._table.c.tenant, self._table.c.name, self._table.c.version)
        decided = update(self._table).where(mine).values(values).returning(*key)
        return list(connection.execute(decided).mappings())

    def _require_same(self, known: RowMapping, given: Mapping[str, Any]) -> RowMapping:
        if known["sha256"] != given["sha256"]:
            parts = ", ".join(_differing(known["spec"], given["spec"]))
            which = f"; they differ in {parts}" if parts else ""
            raise VersionExistsError(
                f"{self._noun} {known['name']} has a version {known['version']} with another content, "
                f"{known['sha256']}, and this one is {given['sha256']}{which}: a version "
                "never changes, register this one under a new version"
            )
        return known


def _differing(known: Mapping[str, Any], given: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """The fields in which two specifications differ, such as `labels` or `preprocessing.mean`."""
    for field in dict.fromkeys([*known, *given]):
        one, other = known.get(field), given.get(field)
        if isinstance(one, Mapping) and isinstance(other, Mapping) and one and other:
            yield from _differing(one, other, f"{within}{field}.")
        elif one != other:
            yield f"{within}{field}"


def _used(using: Sequence[str], check_job: str) -> str:
    """By which jobs a version is used; the one that decides on it is nobody else's."""
    if list(using) == [check_job]:
        return f"is still being checked, by {check_job}: wait for the end of this job, or cancel it"
    more = f" and {len(using) - SHOWN_JOBS} more" if len(using) > SHOWN_JOBS else ""
    return f"is used by {', '.join(using[:SHOWN_JOBS])}{more}: wait for their end, or cancel them"
