"""How much of the worker's disk a job may take."""

from shared.spool import Room

#: Of one file, and a job has two at most. About 80 million events, of which a user and a time are copied. Beyond it the
#: disk, which others use too, is not the place: the events of so many days are better asked for once they are sealed.
MOST_BYTES = 4 << 30

ROOM = Room(MOST_BYTES, "events that are not sealed yet", "the worker's disk", "fewer days")
