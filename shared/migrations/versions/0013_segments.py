"""Answers about segments by a property from before numbers were compared as numbers are given to nobody again.

Which of them have a number in the segment is not worth telling: the others cost one more calculation each.
"""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.execute(
        "UPDATE jobs SET question = NULL WHERE question IS NOT NULL AND parameters ->> 'segment' LIKE 'properties.%'"
    )
