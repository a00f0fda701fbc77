"""The streams Weir carries. Routes, topology, consumer, metrics and retention loop over `STREAMS`."""

from shared.streams.events import EVENTS
from shared.streams.readings import READINGS
from shared.streams.stream import Stream

STREAMS: tuple[Stream, ...] = (READINGS, EVENTS)

__all__ = ["EVENTS", "READINGS", "STREAMS", "Stream"]
