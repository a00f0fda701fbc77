"""Asks for jobs: finds or starts the one that answers a question, has a worker told of it, and waits for its answer."""

import asyncio
import time
from datetime import timedelta
from functools import partial
from typing import Any, Literal
from uuid import UUID

import structlog

from api.schemas import Task
from shared import asking
from shared.database import LOOKUP_DEADLINE, DatabaseThreads, Job, connect
from shared.errors import BrokerUnavailable, InvalidRecord
from shared.jobs import Jobs
from shared.ledger import Acceptances
from shared.scope import Scope
from shared.threads import Threads

log = structlog.get_logger()

#: Questions that are asked at one time. To find an answer that still holds may take a while, and more than one of them.
ASKERS = 4
#: Jobs that workers are told of at one time, and the longest that one who asks waits for that.
NUDGES, NUDGE_DEADLINE = 4, timedelta(seconds=2)

#: Words of the contract for the states of a job.
_STATUS: dict[str, Literal["PENDING", "STARTED", "SUCCESS", "FAILURE", "CANCELLED"]] = {
    "queued": "PENDING",
    "running": "STARTED",
    "done": "SUCCESS",
    "failed": "FAILURE",
    "cancelled": "CANCELLED",
}
#: Seconds between two looks at a job that is waited for: few at first, for most answers come at once.
_FIRST_LOOK, _LONGEST_LOOK = 0.02, 0.5
#: Each pause is longer by so much than the one before: an answer is found when a seventh more has passed than it took.
_LONGER = 1.15


class Asking:
    """Asks for jobs and follows them, as tasks: what the API calls them.

    Who asks the same waits for each other, in threads and on connections of their own: nobody else waits for them.
    """

    def __init__(
        self, database_url: str, jobs: Jobs, threads: DatabaseThreads, acceptances: Acceptances, patience: timedelta
    ) -> None:
        self._engine = connect(database_url, pool_size=ASKERS, statement_deadline=LOOKUP_DEADLINE)
        self._askers = DatabaseThreads(ASKERS)
        self._jobs = jobs
        self._threads = threads
        self._acceptances = acceptances
        #: Most seconds that anybody may wait for an answer.
        self.patience = patience.total_seconds()
        # Not the database's: a broker that is away must not keep those.
        self._nudges = Threads(NUDGES, "broker", BrokerUnavailable)

    async def ask(self, kind: str, parameters: dict[str, Any], scope: Scope, wait: float = 0) -> Task:
        """Return the task that answers a question, after so many seconds if it is not done earlier. Raises WeirError."""
        self._require_patience(wait)
        # The answer says how much is still queued, so what this process accepted must be in the ledger first.
        await self._acceptances.flush()
        since = time.monotonic()
        job, is_new = await self._askers.run(asking.ask, self._engine, kind, parameters, scope, since)
        if is_new:
            await self._nudge(job.id)
        return await self.wait_for(job.id, wait) if wait else _task(job)

    async def wait_for(self, job_id: UUID, seconds: float) -> Task:
        """Return the task once it has ended, or after so many seconds. Raises WeirError."""
        self._require_patience(seconds)
        deadline, pause = time.monotonic() + seconds, _FIRST_LOOK
        while True:
            job = await self._threads.run(self._jobs.fetch, job_id)
            left = deadline - time.monotonic()
            if job.status not in ("queued", "running") or left <= 0:
                return _task(job)
            await asyncio.sleep(min(pause, left))
            pause = min(pause * _LONGER, _LONGEST_LOOK)

    async def cancel(self, job_id: UUID, *, for_all: bool) -> Task:
        """End a task without an answer, as `Jobs.cancel` does. Raises WeirError."""
        return _task(await self._threads.run(partial(self._jobs.cancel, job_id, for_all=for_all)))

    def close(self) -> None:
        """Let the threads end once they are free."""
        self._askers.close()
        self._nudges.close()
        self._engine.dispose()

    async def _nudge(self, job_id: UUID) -> None:
        """Tell a worker, if that can be done in time.

        Otherwise the job is no less accepted: its row is there, and it is sent again. A 503 would have it asked for twice.
        """
        try:
            await self._nudges.call(partial(self._jobs.nudge, job_id), NUDGE_DEADLINE)
        except BrokerUnavailable as error:
            log.warning("a job waits to be sent again", job=str(job_id), reason=str(error))

    def _require_patience(self, seconds: float) -> None:
        if seconds > self.patience:
            raise InvalidRecord("out_of_range", "wait", f"must be {self.patience:g} at most")


def _task(job: Job) -> Task:
    return Task(
        task_id=job.id,
        status=_STATUS[job.status],
        progress=100 if job.status == "done" else job.progress,
        checked_at=job.checked_at,
        result=job.result if job.checked_queued is None else _with_queued(job.result, job.checked_queued),
        error=job.error,
    )


def _with_queued(result: Any, count: int) -> Any:
    """Say how much is queued now: the rest of the answer is as true as it was."""
    if not isinstance(result, dict):
        return result
    found = result | {"queued": count}
    if "devices" in found:
        found["devices"] = {one: answer | {"queued": count} for one, answer in found["devices"].items()}
    return found
