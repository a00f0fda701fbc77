"""The limit of a plain FastAPI route: validates a reading with pydantic and does nothing with it."""

from datetime import datetime
from uuid import UUID

from fastapi import FastAPI
from pydantic import BaseModel, FiniteFloat

app = FastAPI()


class Reading(BaseModel):
    x: FiniteFloat
    y: FiniteFloat
    z: FiniteFloat
    timestamp: datetime | None = None


@app.post("/devices/{device_id}/stats/", status_code=202)
async def submit(device_id: UUID, reading: Reading) -> dict[str, str]:  # noqa: ARG001
    return {"status": "ok"}
