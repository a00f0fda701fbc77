"""The streams Weir carries. Routes, topology, consumer, metrics and retention loop over `STREAMS`."""

from shared.streams.readings import READINGS
from shared.streams.stream import Stream

STREAMS: tuple[Stream, ...] = (READINGS,)

__all__ = ["READINGS", "STREAMS", "Stream"]
