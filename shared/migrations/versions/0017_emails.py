"""What each user's email is known by, in whatever case and script; of users that share one, only the first has it."""

import sqlalchemy as sa
from alembic import op

from shared.emails import email_key

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.execute("ALTER TABLE users ADD COLUMN email_key text")
    connection = op.get_bind()
    keys: dict[str, int] = {}
    for user, email in connection.execute(sa.text("SELECT id, email FROM users ORDER BY id")):
        keys.setdefault(email_key(email), user)
    for key, user in keys.items():
        connection.execute(sa.text("UPDATE users SET email_key = :key WHERE id = :user"), {"key": key, "user": user})
    op.execute("CREATE UNIQUE INDEX users_email_key ON users (email_key)")
    op.execute("DROP INDEX users_email")
