"""Devices: what sends readings."""

from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from api.dependencies import Cursor, Limit, Services, ServicesOf, link_next, page
from api.routes.users import after, without_nul
from api.schemas import Device, NewDevice
from shared import database
from shared.database import translated
from shared.errors import InvalidRecord, NotFound

router = APIRouter(tags=["devices"])

FOREIGN_KEY_VIOLATION = "23503"


@router.post("/devices/")
async def create_device(new: NewDevice, services: ServicesOf) -> Device:
    """Make a device for a user; 404 when there is no such user."""
    device = Device(id=uuid4(), user_id=new.user_id, name=new.name)
    key = await run_in_threadpool(_insert, services, device)
    services.devices.remember(device.id, key)
    return device


@router.get("/devices/")
def list_devices(
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
    with translated(), Session(services.engine) as session:
        found, more = page(session.scalars(query).all(), limit)
        if more:
            response.headers.update(link_next(request, str(found[-1].key)))
        return [Device(id=device.id, user_id=device.user_id, name=device.name) for device in found]


@router.get("/devices/{device_id}")
def get_device(device_id: UUID, services: ServicesOf) -> Device:
    """Show one device."""
    with translated(), Session(services.engine) as session:
        device = session.get(database.Device, device_id)
    if device is None:
        raise NotFound("no device has this id")
    return Device(id=device.id, user_id=device.user_id, name=device.name)


def _insert(services: Services, device: Device) -> int:
    row = insert(database.Device).values(id=device.id, user_id=device.user_id, name=device.name)
    try:
        with translated(), services.engine.begin() as connection:
            return connection.execute(row.returning(database.Device.key)).scalar_one()
    except InvalidRecord as error:
        if error.code == FOREIGN_KEY_VIOLATION:
            raise NotFound("no user has this id") from error
        raise
