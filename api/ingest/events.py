"""Answers submissions of events, for the lane and the routes alike."""

from functools import partial

from api.errors import Answer
from api.ingest.body import Headers, Receive, Scope, read_body
from api.ingest.ingest import Ingest, media_type
from shared.broker.messages import NO_DIGEST
from shared.streams import events
from shared.streams.stream import Encoded, Submission, TimeBounds

#: The second is for clients written against that path.
PATHS = ("/events", "/api/events")


class EventIngest(Ingest):
    """Takes events in."""

    async def batch(self, scope: Scope, receive: Receive) -> Answer:
        """Answer `POST /events`: what is valid is kept, the rest is listed.

        Events name no sender, so one key means one submission, whoever sends it: another body under it is refused.
        """
        headers: Headers = dict(scope["headers"])
        body = await read_body(headers, receive, self._body_limit, self._room)
        now, bounds = self._now()
        decode = partial(_encoded, body, media_type(headers), now, bounds, self._submission_limit)
        encoded = await self._decoded(body, decode)
        receipt = self._receipt(headers, lambda: "")
        digest = await self._claimed(receipt, body) if encoded.records else NO_DIGEST
        del body, decode  # which has the body in its hands, too
        return await self._submit(encoded, receipt, digest)


def _encoded(body: bytes, kind: str, now: int, bounds: TimeBounds, limit: int) -> Encoded:
    submission: Submission = events.decode(body, kind, now, bounds, limit)
    return submission.encode({})
