"""A database with history is brought up to date, and its ledger still adds up."""

import psycopg2
from alembic import command
from factories import Weir

from shared import migrations


def test_what_was_in_flight_before_series_is_accepted_when_it_is_settled(weir: Weir) -> None:
    """Messages from before have no series, so the consumer counts them as accepted: they must not count twice."""
    name = f"{weir.name}_old"
    url = f"{weir.database_url.rpartition('/')[0]}/{name}"
    weir.administer(f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        config = migrations._config()
        config.attributes["database_url"] = url
        command.upgrade(config, "0001")
        connection = psycopg2.connect(url.replace("+psycopg2", ""))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO ledger (stream, minute, accepted, stored, dead) VALUES ('s', now(), 9, 5, 1)")
            migrations.upgrade(url)
            cursor.execute("SELECT accepted, stored, dead FROM ledger")
            assert cursor.fetchall() == [(6, 5, 1)]
            cursor.execute("SELECT version_num FROM alembic_version")
            assert cursor.fetchall() == [(migrations.head(),)]
        connection.close()
    finally:
        weir.administer(f"DROP DATABASE {name} WITH (FORCE)")
