"""Settings: everything that may differ from one installation to the next, read from WEIR_* variables."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import Misconfigured
from shared.streams import STREAMS

PREFIX = "WEIR_"


def _with_psycopg2(url: str) -> str:
    """Name the driver: SQLAlchemy 2.1 takes a bare `postgresql://` for psycopg 3."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgres", "postgresql", "postgresql+psycopg2"}:
        raise ValueError("must look like postgresql://user:password@host:port/database")
    return f"postgresql+psycopg2://{rest}"


def _amqp(url: str) -> str:
    if not url.startswith(("amqp://", "amqps://")):
        raise ValueError("must look like amqp://user:password@host:port/vhost")
    return url


def _cold(url: str) -> str:
    if not url.startswith("/") and "://" not in url:
        raise ValueError("must be an absolute path, or look like s3://bucket/folder")
    return url


def _seconds(value: object) -> object:
    """A bare number is seconds; pydantic itself takes only the long forms from a variable."""
    try:
        return timedelta(seconds=float(value)) if isinstance(value, str) else value
    except (ValueError, OverflowError):
        return value


def _some_time(span: timedelta) -> timedelta:
    if span <= timedelta(0):
        raise ValueError("must be longer than 0 seconds")
    return span


Bytes = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
#: A century at most: dates end.
Days = Annotated[int, Field(gt=0, le=36_525)]
Span = Annotated[timedelta, BeforeValidator(_seconds), AfterValidator(_some_time)]


#: Of two settings, why the first must not be greater than the second.
_NOT_GREATER = (
    ("message_limit", "waiting_limit", "a message of the most records could never wait"),
    ("submission_limit", "waiting_limit", "a submission of the most records could never wait"),
    ("body_limit_bytes", "bodies_limit_bytes", "a body of the most bytes would find no room"),
    ("body_limit_bytes", "waiting_limit_bytes", "a submission of the most bytes could never wait"),
    ("batch_wait", "write_deadline", "no batch would be due in time"),
    ("unknown_device_memory", "device_memory", "a device that was just made would stay unknown"),
    ("job_wait_limit", "job_deadline", "nobody need wait longer than a job may take"),
    ("job_deadline", "job_retention", "an answer would be dropped while it may still come"),
    ("job_deadline", "cold_grace", "a job would miss a file that it still reads"),
    ("job_resend_after", "job_retention", "a job would be dropped before it is sent again"),
)


class Settings(BaseSettings):
    """One field per WEIR_ variable. Durations are ISO 8601 (`PT5S`) or seconds; sizes are bytes."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    #: Where the rows live.
    database_url: Annotated[str, AfterValidator(_with_psycopg2)] = "postgresql+psycopg2://weir:weir@127.0.0.1:5432/weir"
    #: Where messages wait. One virtual host belongs to one Weir.
    amqp_url: Annotated[str, AfterValidator(_amqp)] = "amqp://weir:weir@127.0.0.1:5672/weir"
    #: The broker's management API, for operators; empty where there is none.
    management_url: str = ""

    #: Address and port the API listens on.
    api_host: str = "127.0.0.1"
    api_port: Annotated[int, Field(gt=0, lt=65536)] = 8000

    #: A reading or event older than this is refused: a clock that was never set says 1970.
    earliest_timestamp: datetime = datetime(1990, 1, 1, tzinfo=UTC)
    #: One further ahead than this is refused. Partitions are made further ahead still.
    timestamp_ahead: Span = timedelta(days=1)
    #: Largest body of a request, as sent and once unpacked; over it the answer is 413.
    body_limit_bytes: Bytes = 4 * 1024 * 1024
    #: Bytes of all bodies together that come in pieces or wait to be decoded; over it the answer is 503.
    bodies_limit_bytes: Bytes = 256 * 1024 * 1024
    #: Connections the API keeps open; on one more the answer is 503. A tenth more are taken so that they can be told.
    connection_limit: Count = 8_000
    #: Time for the head of a request, also of the first on a connection; then the connection is closed.
    head_deadline: Span = timedelta(seconds=10)
    #: Most records one submission may bring.
    submission_limit: Count = 10_000

    #: From submission to confirm, reconnects included; then 503 and the outcome is unknown.
    publish_deadline: Span = timedelta(seconds=5)
    #: Records of one stream that may wait in the API for a confirm, and their bytes; over it the answer is 503 at once.
    waiting_limit: Count = 200_000
    waiting_limit_bytes: Bytes = 64 * 1024 * 1024
    #: Most records that share one message, so that a delivery stays small beside the consumer's memory.
    message_limit: Count = 10_000
    #: Longest silence on a broker connection before it counts as dead is three times this.
    heartbeat: Annotated[Span, Field(ge=timedelta(seconds=1), le=timedelta(seconds=65_535))] = timedelta(seconds=10)

    #: A device's key is remembered this long; so is an id that is not known.
    device_memory: Span = timedelta(minutes=10)
    unknown_device_memory: Span = timedelta(seconds=5)
    #: Most devices remembered. Of ids that nobody has, a tenth as many beside them.
    device_memory_limit: Count = 200_000

    #: Most Idempotency-Keys whose bodies are remembered; of older ones the table of receipts tells, once they are stored.
    key_memory_limit: Count = 50_000

    #: A batch is full with this many records, due when its first has waited this long.
    batch_limit: Count = 20_000
    batch_wait: Span = timedelta(milliseconds=40)
    #: Messages the broker hands out ahead of their acks.
    prefetch: Annotated[int, Field(gt=0, lt=65536)] = 2000
    #: Bytes of messages of one stream in the consumer's hands, over which it reads no more of it from the broker.
    intake_limit_bytes: Bytes = 128 * 1024 * 1024
    #: Connections over which a consumer writes each stream; more than one is used only while there is a backlog.
    writers: Annotated[int, Field(gt=0, le=16)] = 2
    #: Messages in a row of which nothing can be written, after which no more are dead-lettered but parked; nine in ten of
    #: the last ten times as many have the same effect.
    dead_in_a_row: Count = 1000
    #: One transaction of the consumer, measured on our side: a frozen server answers nothing.
    write_deadline: Span = timedelta(seconds=60)
    #: How long a drain may take before what is left is returned to the broker.
    drain_deadline: Span = timedelta(seconds=20)

    #: Any other statement, on the server's side.
    statement_deadline: Span = timedelta(seconds=30)
    #: Connections the API keeps to the database.
    pool_size: Count = 10

    #: Downloads at one time; on one more the answer is 503.
    download_limit: Count = 8
    #: Longest that a download waits for its client to take anything; then its connection is cut.
    download_patience: Span = timedelta(seconds=30)

    #: A receipt is kept this long after it is written, and with it the memory of an Idempotency-Key.
    receipt_retention: Annotated[Span, Field(ge=timedelta(days=2))] = timedelta(days=14)
    #: Dead letters that were replayed or discarded, the ledger's minutes that balance, and ended jobs are kept this long.
    settled_retention: Annotated[Span, Field(ge=timedelta(days=2))] = timedelta(days=90)
    #: Days of partitions that exist ahead of today.
    partitions_ahead: Days = 7

    #: Where sealed days are: an absolute path, or a URL that pyarrow knows, such as s3://bucket/folder.
    cold_url: Annotated[str, AfterValidator(_cold)] = "/var/lib/weir/cold"
    #: Whole days before today that stay in PostgreSQL; older ones are sealed.
    hot_days: Days = 7
    #: A file that no longer counts is removed this much later: whoever reads it has to be done by then.
    cold_grace: Span = timedelta(days=1)
    #: Whole days before today that records are kept; none: for ever. A device may have a term of its own.
    retention_days_readings: Days | None = None
    retention_days_events: Days | None = None

    #: Longest a request may wait for a job with `wait=`.
    job_wait_limit: Span = timedelta(seconds=30)
    #: A job nobody has taken up for this long is sent again.
    job_resend_after: Span = timedelta(seconds=20)
    #: A job that a worker holds longer than this is stopped, and ends as FAILURE.
    job_deadline: Span = timedelta(minutes=10)
    #: An answer is kept this long; after that its id answers 410, until the job is forgotten, too.
    job_retention: Span = timedelta(days=1)

    #: debug, info, warning or error.
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    #: One JSON object per line for machines; otherwise lines for people.
    log_json: bool = False

    @property
    def terms(self) -> dict[str, int | None]:
        """How many days each stream's records are kept, by the stream's name."""
        return {stream.name: getattr(self, f"retention_days_{stream.name}") for stream in STREAMS}

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for smaller, greater, why in _NOT_GREATER:
            if getattr(self, smaller) > getattr(self, greater):
                raise ValueError(f"{_variable(smaller)} is greater than {_variable(greater)}: {why}")
        if self.timestamp_ahead > timedelta(days=self.partitions_ahead):
            raise ValueError(
                f"{_variable('timestamp_ahead')} reaches further than {_variable('partitions_ahead')}: "
                "such readings would have no partition of their own"
            )
        if self.earliest_timestamp.tzinfo is None:
            raise ValueError(f"{_variable('earliest_timestamp')} needs an offset, such as Z")
        return self


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX)


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings, or say in one line which variable makes no sense.

    Raises:
        Misconfigured: a WEIR_ variable is unknown or its value is not valid.
    """
    known = {_variable(name) for name in Settings.model_fields}
    unknown = sorted(name for name in environment if _is_ours(name) and name.upper() not in known)
    if unknown:
        raise Misconfigured(f"unknown setting {unknown[0]}; docs/configuration.md lists them all")
    try:
        given = {name[len(PREFIX) :].lower(): value for name, value in environment.items() if _is_ours(name)}
        # The prefix is one that no variable of the process has: what counts is what was handed over.
        return Settings(_env_prefix="\0", **given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        fault = first["msg"].removeprefix("Value error, ")  # pydantic's, before a text of ours
        raise Misconfigured(f"{_variable(str(first['loc'][0]))}: {fault}" if first["loc"] else fault) from error
