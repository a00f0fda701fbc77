"""The harness's own way into a database, that survives the server's."""

from datetime import timedelta
from typing import Any

from shared.database import connect


class Database:
    """Each statement its own transaction; a connection that broke meanwhile is replaced."""

    def __init__(self, url: str) -> None:
        self._engine = connect(url, pool_size=2, statement_deadline=timedelta(minutes=1))

    def rows(self, query: str, parameters: dict[str, Any] | None = None) -> list[Any]:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            result = connection.exec_driver_sql(query, parameters)
            return list(result.all()) if result.returns_rows else []

    def close(self) -> None:
        self._engine.dispose()
