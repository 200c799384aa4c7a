"""What a job was said to cost when it was accepted."""

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('jobs', sa.Column('cost', sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column('jobs', 'cost')
