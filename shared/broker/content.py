"""Messages as the broker hands them out, and while their frames are still coming in."""

from dataclasses import dataclass, field

from pamqp.commands import Basic


@dataclass(slots=True)
class Message:
    """A message as the broker hands it out."""

    tag: int
    redelivered: bool
    properties: Basic.Properties
    body: bytes
    #: Whether its properties could be read; otherwise they are empty.
    is_readable: bool = True


@dataclass(slots=True)
class Content:
    """A message whose frames are still coming in."""

    method: bytes
    properties: Basic.Properties = field(default_factory=Basic.Properties)
    is_readable: bool = True
    left: int = -1
    parts: list[bytes] = field(default_factory=list)
