"""Runs migrations in one transaction, one process at a time."""

from alembic import context
from sqlalchemy import create_engine, text

from shared.database import KEEPALIVE, Base

#: Held while migrating, so that processes that start together do not migrate together.
LOCK = 0x57454952

engine = create_engine(context.config.attributes["database_url"], connect_args=KEEPALIVE)
with engine.begin() as connection:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    context.configure(connection=connection, target_metadata=Base.metadata)
    context.run_migrations()
engine.dispose()
