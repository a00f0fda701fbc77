"""The mark of a store, in it and in PostgreSQL: an empty folder where a volume is not mounted is not the store."""

from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, text

from shared.cold.store import MARK, Store
from shared.database import translated
from shared.errors import ColdUnavailable, Misconfigured

_KNOWN = text("SELECT id FROM cold_store")
_LOCK = text("LOCK TABLE cold_store IN EXCLUSIVE MODE")
_KEEP = text("INSERT INTO cold_store (id) VALUES (:id)")
_SEALED = text("SELECT EXISTS (SELECT FROM cold_files)")

_REMEDY = "docs/operations.md has what to do"


def check(engine: Engine, store: Store) -> None:
    """See that this is the store whose files the manifest names. Changes nothing.

    Raises:
        ColdUnavailable: there is no store; it may not be mounted.
        Misconfigured: it is another one.
        DatabaseUnavailable: nobody knows.
    """
    with translated(), engine.connect() as connection:
        known = _known(connection)
    if known is not None:
        _compare(known, store)


def ensure(engine: Engine, store: Store) -> None:
    """The same, and mark a store before the first file comes into it. Raises as `check` does."""
    with translated(), engine.begin() as connection:
        known = _known(connection)
        if known is None:
            connection.execute(_LOCK)
            known = _known(connection) or _made(connection, store)
    _compare(known, store)


def _known(connection: Connection) -> UUID | None:
    found: UUID | None = connection.execute(_KNOWN).scalar_one_or_none()
    return found


def _made(connection: Connection, store: Store) -> UUID:
    if connection.execute(_SEALED).scalar_one():
        raise Misconfigured(f"there are cold files, and cold_store does not say of which store; {_REMEDY}")
    # One that was killed here before, or a database made anew, has left its mark.
    mark = _read(store)
    if mark is None:
        mark = uuid4()
        with store.create(MARK) as sink:
            sink.write(f"{mark}\n".encode())
    connection.execute(_KEEP, {"id": mark})
    return mark


def _compare(known: UUID, store: Store) -> None:
    found = _read(store)
    if found is None:
        raise ColdUnavailable(f"the cold store is not at WEIR_COLD_URL: is it mounted? {_REMEDY}")
    if found != known:
        raise Misconfigured(f"at WEIR_COLD_URL is the cold store of another database; {_REMEDY}")


def _read(store: Store) -> UUID | None:
    content = store.content(MARK)
    try:
        return None if content is None else UUID(content.decode().strip())
    except ValueError as error:
        raise Misconfigured(f"the file {MARK} at WEIR_COLD_URL is no mark; {_REMEDY}") from error
