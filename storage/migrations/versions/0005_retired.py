"""Versions that were deleted keep their names for what they had been."""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('retired',
    sa.Column('tenant', sa.String(length=64), nullable=False),
    sa.Column('registry', sa.String(length=16), nullable=False),
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('version', sa.String(length=64), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'registry', 'name', 'version', name=op.f('pk_retired'))
    )


def downgrade() -> None:
    op.drop_table('retired')
