"""The errors of Weir, as one tree.

    WeirError
    ├── Unavailable            503 and Retry-After
    │   ├── BrokerUnavailable
    │   ├── DatabaseUnavailable
    │   └── ColdUnavailable
    │       └── ColdFileUnreadable
    ├── PublishRefused         503 and Retry-After
    ├── NoRoom                 503 and Retry-After; a job fails
    ├── Misconfigured          stop consuming, not ready
    ├── InvalidRecord          422 or dead letter
    ├── TooLarge               413
    ├── NotFound               404
    ├── Expired                410
    ├── ColdFileDamaged        500
    ├── Conflict               400 or 409
    └── JobCancelled           the worker stops; 503 and Retry-After

Drivers' errors become these once, where the driver is called.
"""


class WeirError(Exception):
    """Something Weir can name. Its text is for people and never repeats the input."""


class Unavailable(WeirError):
    """It will be back: wait, or ask the sender to come again."""


class BrokerUnavailable(Unavailable):
    """The broker did not answer in time. Whether it has the message is unknown."""


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, or cannot do this now."""


class ColdUnavailable(Unavailable):
    """The place of the cold files cannot be reached, or written to."""


class ColdFileUnreadable(ColdUnavailable):
    """One file of a cold store that is there cannot be read now: it may be again, and what it holds is not known to be lost.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: str, fault: str) -> None:
        super().__init__(f"the cold file {path} {fault}")
        self.path = path


class PublishRefused(WeirError):
    """The broker would not take the message, or too much is waiting already: it is certainly not kept.

    Attributes:
        seconds: how long what waits will take to go, as far as anybody can tell; the sender should stay away so long.
    """

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class NoRoom(WeirError):
    """More has to wait on the disk than there is room for, in its bound or on the disk. Asking for less helps."""


class Misconfigured(WeirError):
    """Only a person can help: a table is missing, a password is wrong, a queue is not as designed."""


class InvalidRecord(WeirError):
    """No retry will help: the record breaks the schema or a rule of the table.

    Attributes:
        code: stable word for the reason, such as `out_of_range`.
        field: the offending field, or None when it is the record as a whole.
    """

    def __init__(self, code: str, field: str | None, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class TooLarge(WeirError):
    """It brings more, in bytes or in records, than this service takes at once."""


class NotFound(WeirError):
    """There is no such thing."""


class Expired(WeirError):
    """There was such a thing, and it was kept as long as promised."""


class ColdFileDamaged(WeirError):
    """A file of the cold tier is missing, or is not what was sealed. Nothing else is harmed.

    Attributes:
        path: where it is, or should be.
    """

    def __init__(self, path: str, fault: str) -> None:
        super().__init__(f"the cold file {path} {fault}; `weir verify` lists what is damaged")
        self.path = path
        self.fault = fault


class Conflict(WeirError):
    """It contradicts something that is there already."""


class NotCancelled(Conflict):
    """The job goes on, or is over: others asked for it too, or it has ended."""


class JobCancelled(WeirError):
    """The job was given up before it had an answer; asking again starts a new one."""
