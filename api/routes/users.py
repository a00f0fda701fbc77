"""Users: who owns devices."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Engine, Select, select
from sqlalchemy.orm import Session

from api.dependencies import Cursor, Limit, ServicesOf, link_next, page
from api.schemas import NewUser, User
from shared import database
from shared.database import translated
from shared.emails import email_key
from shared.errors import Conflict, InvalidRecord

router = APIRouter(tags=["users"])

UNIQUE_VIOLATION = "23505"


@router.post("/users/")
async def create_user(new: NewUser, services: ServicesOf) -> User:
    """Make a user. The same email again, in whatever case or script, is a 400."""
    return await services.threads.run(_insert, services.engine, new)


@router.get("/users/")
async def list_users(
    request: Request,
    response: Response,
    services: ServicesOf,
    limit: Limit = 100,
    cursor: Cursor = None,
    email: Annotated[str | None, Query(max_length=254, description="Only the user with this email.")] = None,
) -> list[User]:
    """List users in the order they were made; the `Link` header leads to the next page."""
    query = select(database.User).where(database.User.id > after(cursor)).order_by(database.User.id).limit(limit + 1)
    if email is not None:
        key = email_key(without_nul(email, "email"))
        same = database.User.email_key.is_(None) & (database.User.email == email)
        query = query.where((database.User.email_key == key) | same)
    found, more = page(await services.threads.run(_select, services.engine, query), limit)
    if more:
        response.headers.update(link_next(request, str(found[-1].id)))
    return list(found)


def _insert(engine: Engine, new: NewUser) -> User:
    user = database.User(name=new.name, email=new.email, email_key=email_key(new.email))
    try:
        with Session(engine, expire_on_commit=False) as session, translated(), session.begin():
            session.add(user)
    except InvalidRecord as error:
        if error.code == UNIQUE_VIOLATION:
            raise Conflict("a user with this email exists already") from error
        raise
    return User(id=user.id, name=user.name, email=user.email)


def _select(engine: Engine, query: Select[database.User]) -> list[User]:
    with translated(), Session(engine) as session:
        return [User(id=user.id, name=user.name, email=user.email) for user in session.scalars(query)]


def after(cursor: str | None) -> int:
    """Read the cursor of a list that is ordered by number. Raises InvalidRecord."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):  # noqa: PLR2004 - digits of a 64-bit number
        raise InvalidRecord("invalid_cursor", "cursor", "must be taken from a Link header")
    return int(cursor)


def without_nul(text: str, field: str) -> str:
    """Return a text that PostgreSQL can take. Raises InvalidRecord."""
    if "\0" in text:
        raise InvalidRecord("invalid_text", field, "must not contain NUL")
    return text
