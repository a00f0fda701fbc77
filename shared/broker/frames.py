"""AMQP 0-9-1 frames: what goes over the wire, cut from a stream of bytes and put into one.

https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, section 4.2. Commands that come once in a while go through
pamqp; what comes with every message is packed and unpacked here.
"""

import struct
from collections.abc import Iterator

from pamqp import commands, constants
from pamqp import frame as codec
from pamqp.base import Frame
from pamqp.header import ContentHeader

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
METHOD, HEADER, BODY = constants.FRAME_METHOD, constants.FRAME_HEADER, constants.FRAME_BODY
#: Largest frame that a broker may send before a limit is agreed upon, and where it names none.
FRAME_BYTES = 131_072
#: Bytes of a frame that are not its payload: type, channel, size; end.
OVERHEAD = 8
END = constants.FRAME_END

#: Indices of the methods that come with every message: class and method number.
DELIVER, ACK, NACK = commands.Basic.Deliver.index, commands.Basic.Ack.index, commands.Basic.Nack.index

_KINDS = (METHOD, HEADER, BODY, constants.FRAME_HEARTBEAT)
_START = struct.Struct(">BHI")
_INDEX = struct.Struct(">I")
_BODY_SIZE = struct.Struct(">Q")
_TAGGED = struct.Struct(">QB")
_ACK_FRAME = struct.Struct(">BHIIQBB")


class Cutter:
    """Cuts a stream into frames, however it was split on its way. No frame is larger than `most` bytes."""

    def __init__(self) -> None:
        self.most = FRAME_BYTES
        self._rest = b""

    def cut(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Give each whole frame as (type, channel, the frame itself); keep what is left for the next call.

        Raises:
            ValueError: this is no AMQP.
        """
        data = self._rest + data if self._rest else data
        start, size = 0, len(data)
        while size - start >= OVERHEAD:
            kind, channel, length = _START.unpack_from(data, start)
            end = start + OVERHEAD + length
            if kind not in _KINDS or length > self.most:
                raise ValueError("this is no AMQP frame")
            if end > size:
                break
            if data[end - 1] != END:
                raise ValueError("a frame does not end where it should")
            yield kind, channel, data[start:end]
            start = end
        self._rest = data[start:]


def method(command: Frame, channel: int) -> bytes:
    """Make the frame of a command."""
    return codec.marshal(command, channel)


def index(frame: bytes) -> int:
    """Say which method a method frame carries."""
    found: int = _INDEX.unpack_from(frame, 7)[0]
    return found


def parsed(frame: bytes) -> Frame | ContentHeader:
    """Read a method or header frame. Raises ValueError."""
    try:
        _, _, found = codec.unmarshal(frame)
    except Exception as error:  # pamqp's reading of what it cannot read raises whatever Python does
        raise ValueError("a frame cannot be read") from error
    if not isinstance(found, Frame | ContentHeader):
        raise ValueError("a frame of another kind was expected")  # noqa: TRY004
    return found


def body_size(header: bytes) -> int:
    """Read how long the body will be that a content header announces."""
    found: int = _BODY_SIZE.unpack_from(header, 11)[0]
    return found


def delivery(frame: bytes) -> tuple[int, bool]:
    """Read a Basic.Deliver: its tag, and whether it was delivered before. Its names are those of our own consumer."""
    tag, redelivered = _TAGGED.unpack_from(frame, 12 + frame[11])
    return tag, bool(redelivered & 1)


def settled(frame: bytes) -> tuple[int, bool]:
    """Read the broker's Basic.Ack or Basic.Nack: the tag, and whether it counts for all before it, too."""
    tag, bits = _TAGGED.unpack_from(frame, 11)
    return tag, bool(bits & 1)


def ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    return _ACK_FRAME.pack(METHOD, channel, 13, ACK, tag, multiple, END)


def content(channel: int, properties: commands.Basic.Properties, body: bytes, frame_bytes: int) -> Iterator[bytes]:
    """Make the frames that follow a Basic.Publish: the header, and the body in as many as it needs.

    Raises:
        ValueError: the header does not fit a frame, and cannot be split.
    """
    header = codec.marshal(ContentHeader(0, len(body), properties), channel)
    if len(header) > frame_bytes:
        raise ValueError("the properties of a message are too large")
    yield header
    most = frame_bytes - OVERHEAD
    for start in range(0, len(body), most):
        part = body[start : start + most]
        yield _START.pack(BODY, channel, len(part))
        yield part
        yield b"\xce"
