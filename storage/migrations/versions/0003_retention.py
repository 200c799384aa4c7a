"""What versions of models and data sets need, whose turn it is, and jobs by their end."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    held = op.create_table('version_artifacts',
    sa.Column('tenant', sa.String(length=64), nullable=False),
    sa.Column('registry', sa.String(length=16), nullable=False),
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('version', sa.String(length=64), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'registry', 'name', 'version', 'sha256', name=op.f('pk_version_artifacts'))
    )
    op.create_index('ix_version_artifacts_sha256', 'version_artifacts', ['sha256'], unique=False)
    op.create_table('turns',
    sa.Column('name', sa.String(length=32), nullable=False),
    sa.Column('next_at', sa.Double(), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_turns'))
    )
    op.create_index('ix_jobs_ended', 'jobs', ['finished_at'], unique=False)
    if rows := list(_held(op.get_bind())):
        op.bulk_insert(held, rows)


def _held(connection: sa.Connection) -> Iterator[dict[str, Any]]:
    """The artefacts of the versions that are there."""
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in ('tenant', 'name', 'version', 'artifact', 'job_id')]
    for registry in ('models', 'datasets', 'fits'):
        query = sa.select(*columns, sa.column('spec', sa.JSON)).select_from(sa.table(registry))
        for row in connection.execute(query).mappings().all():
            for digest in _pack_of(connection, row['job_id']) if registry == 'datasets' else _named(row):
                key = {name: row[name] for name in ('tenant', 'name', 'version')}
                yield {**key, 'registry': registry, 'sha256': digest}


def _named(row: sa.RowMapping) -> set[str]:
    sets = row['spec'].get('backgrounds') or {}
    return {row['artifact'], *(digest for images in sets.values() for digest in images)} - {None}


def _pack_of(connection: sa.Connection, job_id: str | None) -> set[str]:
    """Index and pack; where the job is deleted, the pack stands in the index alone, and the first sweep looks there."""
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in ('job_id', 'sha256', 'role')]
    references = sa.select(columns[1]).select_from(sa.table('job_artifacts'))
    return set(connection.scalars(references.where(columns[0] == job_id, columns[2] == 'output')))


def downgrade() -> None:
    op.drop_index('ix_jobs_ended', table_name='jobs')
    op.drop_table('turns')
    op.drop_index('ix_version_artifacts_sha256', table_name='version_artifacts')
    op.drop_table('version_artifacts')
