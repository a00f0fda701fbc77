"""A database of any age is brought up to date with what is in it, and its ledger still adds up."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from factories import Weir

from cli.doctor.checks import State
from cli.doctor.database import Database
from shared import migrations
from shared.database import connect

#: From the first to the newest.
REVISIONS = [one.revision for one in ScriptDirectory.from_config(migrations._config()).walk_revisions()][::-1]
#: What every revision has had.
OLD_ROWS = """
    INSERT INTO users (name, email) VALUES ('u', 'u@example.org');
    INSERT INTO devices (id, user_id) VALUES ('11111111-1111-4111-8111-111111111111', 1);
    INSERT INTO readings VALUES (1, '2020-01-01 12:00:00+00', 1, 2, 3);
    INSERT INTO receipts (id, stream, stored) VALUES ('22222222-2222-4222-8222-222222222222', 'readings', 1);
    INSERT INTO jobs (id, kind, parameters, status) VALUES (gen_random_uuid(), 'user_statistics', '{}', 'done');
"""
KEPT = """
    SELECT r.x, r.y, r.z, d.id::text, p.stored, j.status
    FROM readings r JOIN devices d ON d.key = r.device_key, receipts p, jobs j
"""
COLUMNS = """
    SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
    WHERE table_schema = 'public' ORDER BY table_name, column_name
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexdef"


class Old:
    """A database at a revision."""

    def __init__(self, url: str, cursor: Any) -> None:
        self.url = url
        self._cursor = cursor

    def upgrade(self, revision: str) -> None:
        config = migrations._config()
        config.attributes["database_url"] = self.url
        command.upgrade(config, revision)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        self._cursor.execute(query)
        return list(self._cursor.fetchall()) if self._cursor.description else []


@contextmanager
def empty(weir: Weir) -> Iterator[Old]:
    name = f"{weir.name}_old"
    url = f"{weir.database_url.rpartition('/')[0]}/{name}"
    weir.administer(f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        connection = psycopg2.connect(url.replace("+psycopg2", ""))
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield Old(url, cursor)
        connection.close()
    finally:
        weir.administer(f"DROP DATABASE {name} WITH (FORCE)")


def test_history_is_one_line_whose_numbers_count_up() -> None:
    assert ScriptDirectory.from_config(migrations._config()).get_heads() == [migrations.head()]
    assert [int(revision) for revision in REVISIONS] == list(range(1, len(REVISIONS) + 1))


@pytest.mark.parametrize("revision", [None, *REVISIONS])
def test_database_of_any_age_is_brought_up_to_date(weir: Weir, revision: str | None) -> None:
    with empty(weir) as old:
        if revision:
            old.upgrade(revision)
            old.rows(OLD_ROWS)
        for _ in range(2):
            migrations.upgrade(old.url)
        assert old.rows("SELECT version_num FROM alembic_version") == [(migrations.head(),)]
        for part in (COLUMNS, INDEXES):
            assert old.rows(part) == weir.rows(part)
        device, kept = "11111111-1111-4111-8111-111111111111", old.rows(KEPT)
        assert kept == ([(1, 2, 3, device, 1, "done")] if revision else [])


def test_what_was_in_flight_before_series_is_accepted_when_it_is_settled(weir: Weir) -> None:
    """Messages from before have no series, so the consumer counts them as accepted: they must not count twice."""
    with empty(weir) as old:
        old.upgrade("0001")
        old.rows("INSERT INTO ledger (stream, minute, accepted, stored, dead) VALUES ('s', now(), 9, 5, 1)")
        migrations.upgrade(old.url)
        assert old.rows("SELECT accepted, stored, dead FROM ledger") == [(6, 5, 1)]


def test_answers_of_before_numbers_in_segments_were_compared_are_not_given_again(weir: Weir) -> None:
    segments = ["properties.price:20", "event_type:view", None]
    with empty(weir) as old:
        old.upgrade("0012")
        for parameters in (*({"tz": "UTC", "segment": segment} for segment in segments), {}):
            old.rows(
                "INSERT INTO jobs (id, kind, parameters, status, question)"
                f" VALUES (gen_random_uuid(), 'any', '{json.dumps(parameters)}', 'done', 'known by this')"
            )
        old.upgrade("0014")
        assert old.rows("SELECT parameters ->> 'segment' FROM jobs WHERE question IS NULL") == [
            ("properties.price:20",)
        ]
        assert old.rows("SELECT count(*) FROM jobs") == [(4,)]


def test_users_whose_emails_now_collide_stay_and_are_named(weir: Weir) -> None:
    with empty(weir) as old:
        old.upgrade("0016")
        emails = ["strasse@example.org", "stra\u00dfe@example.org", "ada@example.org"]
        for email in emails:
            old.rows(f"INSERT INTO users (name, email) VALUES ('u', '{email}')")
        old.upgrade("head")
        assert [email for (email,) in old.rows("SELECT email FROM users ORDER BY id")] == emails
        assert old.rows("SELECT email FROM users WHERE email_key IS NULL") == [(emails[1],)]
        engine = connect(old.url, pool_size=1, statement_deadline=timedelta(seconds=30))
        try:
            checks = Database(engine, 3, timedelta(days=14)).checks(lambda: datetime.now(UTC))
        finally:
            engine.dispose()
        (found,) = [one for one in checks if one.name == "emails"]
        assert (found.state, emails[1] in found.found) == (State.WARN, True)
