"""Versions are listed page by page, by name and age."""

from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

_TABLES = ('models', 'datasets', 'fits')


def upgrade() -> None:
    for name in _TABLES:
        op.create_index(f'ix_{name}_listed', name, ['tenant', 'name', 'created_at', 'version'], unique=False)


def downgrade() -> None:
    for name in _TABLES:
        op.drop_index(f'ix_{name}_listed', table_name=name)
