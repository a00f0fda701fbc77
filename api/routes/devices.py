"""Devices: what sends readings."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Engine, Select, select, text
from sqlalchemy.orm import Session

from api.dependencies import Cursor, Limit, ServicesOf, link_next, page
from api.problems import problems
from api.routes.users import after, without_nul
from api.schemas import Device, DeviceChanges, NewDevice
from shared import database
from shared.database import translated
from shared.errors import InvalidRecord, NotFound

router = APIRouter(tags=["devices"])

FOREIGN_KEY_VIOLATION = "23503"


@router.post("/devices/", responses=problems(404))
async def create_device(new: NewDevice, services: ServicesOf) -> Device:
    """Make a device for a user; 404 when there is no such user.

    A user may have several devices of one name. With `reuse` two that ask at the same time get the same one.
    """
    if new.reuse and new.name is None:
        raise InvalidRecord("missing", "name", "is required where a device of that name is to be reused")
    device = await services.threads.run(_insert, services.engine, new)
    services.devices.remember(device.id, device.key)
    return _shown(device)


@router.get("/devices/")
async def list_devices(
    request: Request,
    response: Response,
    services: ServicesOf,
    limit: Limit = 100,
    cursor: Cursor = None,
    user_id: Annotated[int | None, Query(ge=1, le=2_147_483_647, description="Only this user's.")] = None,
    name: Annotated[str | None, Query(max_length=200, description="Only those of this name.")] = None,
) -> list[Device]:
    """List devices in the order they were made; the `Link` header leads to the next page."""
    query = (select(database.Device).where(database.Device.key > after(cursor)).order_by(database.Device.key)).limit(
        limit + 1
    )
    if user_id is not None:
        query = query.where(database.Device.user_id == user_id)
    if name is not None:
        query = query.where(database.Device.name == without_nul(name, "name"))
    found, more = page(await services.threads.run(_select, services.engine, query), limit)
    if more:
        response.headers.update(link_next(request, str(found[-1].key)))
    return [_shown(device) for device in found]


@router.get("/devices/{device_id}", responses=problems(404))
async def get_device(device_id: UUID, services: ServicesOf) -> Device:
    """Show one device."""
    query = select(database.Device).where(database.Device.id == device_id)
    found = await services.threads.run(_select, services.engine, query)
    if not found:
        raise NotFound("no device has this id")
    return _shown(found[0])


@router.patch("/devices/{device_id}", responses=problems(404))
async def change_device(device_id: UUID, changes: DeviceChanges, services: ServicesOf) -> Device:
    """Change a device's name, or how many days its readings are kept. Null takes away either."""
    device = await services.threads.run(_update, services.engine, device_id, changes.model_dump(exclude_unset=True))
    if device is None:
        raise NotFound("no device has this id")
    return _shown(device)


def _shown(device: database.Device) -> Device:
    return Device(id=device.id, user_id=device.user_id, name=device.name, retention_days=device.retention_days)


def _select(engine: Engine, query: Select[database.Device]) -> Sequence[database.Device]:
    with translated(), Session(engine, expire_on_commit=False) as session:
        return session.scalars(query).all()


def _update(engine: Engine, device_id: UUID, changes: dict[str, Any]) -> database.Device | None:
    with translated(), Session(engine, expire_on_commit=False) as session, session.begin():
        device = session.get(database.Device, device_id, with_for_update=True)
        for name, value in changes.items() if device else ():
            setattr(device, name, value)
        return device


#: Held while a user's device of one name is looked for and made, so that none of two who do so makes another.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, :user_id))")


def _insert(engine: Engine, new: NewDevice) -> database.Device:
    try:
        with translated(), Session(engine, expire_on_commit=False) as session, session.begin():
            if new.reuse:
                session.execute(_LOCK, {"name": new.name, "user_id": new.user_id})
                same = (database.Device.user_id == new.user_id) & (database.Device.name == new.name)
                found = session.scalars(
                    select(database.Device).where(same).order_by(database.Device.key).limit(1)
                ).first()
                if found is not None:
                    return found
            device = database.Device(id=uuid4(), **new.model_dump(exclude={"reuse"}))
            session.add(device)
            session.flush()
            session.refresh(device)
            return device
    except InvalidRecord as error:
        if error.code == FOREIGN_KEY_VIOLATION:
            raise NotFound("no user has this id") from error
        raise
