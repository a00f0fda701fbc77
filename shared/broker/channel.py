"""A channel: publish and be told what became of it, consume and ack."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from pamqp.base import Frame
from pamqp.commands import Basic, Confirm, Exchange, Queue
from pamqp.commands import Channel as Command
from pamqp.common import FieldTable
from pamqp.header import ContentHeader

from shared.broker import frames
from shared.broker.confirms import Confirms
from shared.broker.content import Content, Message
from shared.broker.reasons import meaning
from shared.errors import BrokerUnavailable, PublishRefused, WeirError

Reply = TypeVar("Reply", bound=Frame)

_GOODBYE = Command.Close(200, "done", 0, 0)


class Line(Protocol):
    """What a channel needs of its connection."""

    def write(self, data: bytes) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Channel:
    """One channel, with publisher confirms. Once `closing` is done it is of no more use, and the result says why.

    Every method that waits ends when the channel does, with that error; deadlines are the caller's. One that is
    cancelled gives the channel up, because its answer would be taken for the next one's.
    """

    def __init__(self, number: int, line: Line, frame_bytes: int, released: Callable[[], object]) -> None:
        self.number = number
        self.closing: asyncio.Future[WeirError] = asyncio.get_running_loop().create_future()
        self.line = line
        self._write = line.write
        self._frame_bytes = frame_bytes
        #: Called once both sides have let go of the channel's number.
        self._released = released
        self._calling = asyncio.Lock()
        self._reply: asyncio.Future[Frame] | None = None
        self._confirms = Confirms()
        self._has_said_goodbye = False
        self._publish_frames: dict[tuple[str, str], bytes] = {}
        self._content: Content | None = None
        self._deliver: Callable[[Message], None] | None = None
        #: Tags of the consumers it has.
        self._consumers: list[str] = []

    @property
    def is_closed(self) -> bool:
        return self.closing.done()

    @property
    def is_consuming(self) -> bool:
        """Whether the broker may still deliver something here."""
        return self._deliver is not None and not self.is_closed

    async def open(self) -> None:
        await self._call(Command.Open(), Command.OpenOk)
        await self._call(Confirm.Select(), Confirm.SelectOk)

    async def close(self) -> None:
        self._has_said_goodbye = True
        await self._call(_GOODBYE, Command.CloseOk)

    async def declare_exchange(self, name: str, *, passive: bool = False) -> None:
        await self._call(Exchange.Declare(0, name, "direct", passive, durable=True), Exchange.DeclareOk)

    async def declare_queue(self, name: str, queue_type: str) -> None:
        arguments: FieldTable = {"x-queue-type": queue_type}
        await self._call(Queue.Declare(0, name, durable=True, arguments=arguments), Queue.DeclareOk)

    async def ready_messages(self, queue: str) -> int:
        """Ask how many messages wait in a queue. One that is slow to answer says 0; one that is missing, Misconfigured."""
        return (await self.look(queue))[0]

    async def look(self, queue: str) -> tuple[int, int]:
        """Ask for a queue's ready messages and consumers; both are 0 when it is slow. Raises as `ready_messages`."""
        found = await self._call(Queue.Declare(0, queue, passive=True), Queue.DeclareOk)
        return found.message_count or 0, found.consumer_count or 0

    async def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        await self._call(Queue.Bind(0, queue, exchange, routing_key), Queue.BindOk)

    def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Basic.Properties
    ) -> asyncio.Future[None]:
        """Give a message to the broker, and return what will be its confirm.

        It raises:
            PublishRefused: the queue is full; the message is certainly not kept.
            Misconfigured: no queue takes it; or there is no such exchange.
            BrokerUnavailable: no confirm came; whether it is kept is unknown.
        """
        if self.is_closed:
            lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            lost.set_exception(self._fault())
            return lost
        start = self._publish_frames.get((exchange, routing_key))
        if start is None:
            command = Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
            start = self._publish_frames[exchange, routing_key] = frames.method(command, self.number)
        message = b"".join((start, *frames.content(self.number, properties, body, self._frame_bytes)))
        confirmed = self._confirms.add(properties.message_id)  # the broker counts what is written, and nothing else
        self._write(message)
        return confirmed

    async def consume(self, queue: str, prefetch: int, deliver: Callable[[Message], None]) -> None:
        """Have every message of a queue delivered, so many ahead of their acks. `deliver` must not wait, nor raise.

        Once more, and as many more come ahead.
        """
        await self._call(Basic.Qos(prefetch_count=prefetch), Basic.QosOk)
        self._deliver = deliver
        tag = f"weir-{len(self._consumers)}"
        self._consumers.append(tag)
        await self._call(Basic.Consume(0, queue, tag), Basic.ConsumeOk)

    async def cancel(self) -> None:
        """Take no more. What is delivered already can still be acked."""
        while self.is_consuming and self._consumers:
            await self._call(Basic.Cancel(self._consumers.pop()), Basic.CancelOk)
        self._deliver = None

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Settle a delivery, or all up to it. On a lost channel this does nothing: they are delivered again."""
        if not self.is_closed:
            self._write(frames.ack(self.number, tag, multiple=multiple))

    def receive(self, kind: int, frame: bytes) -> None:
        """Take a frame in. Raises ValueError when it makes no sense."""
        if kind == frames.METHOD:
            self._on_method(frame)
        elif kind == frames.HEADER:
            self._on_header(frame)
        elif kind == frames.BODY:
            self._on_body(frame)

    def lose(self, fault: WeirError) -> None:
        """Close on this side: everybody who waits is told why."""
        if self.is_closed:
            return
        self.closing.set_result(fault)
        self._deliver = None
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(self._fault())
        for confirmed in self._confirms.lose():
            confirmed.set_exception(self._fault())

    def _on_method(self, frame: bytes) -> None:
        index = frames.index(frame)
        if index in (frames.DELIVER, Basic.Return.index):
            self._content = Content(frame)
        elif index == frames.ACK:
            self._settle(frame, None)
        elif index == frames.NACK:
            self._settle(frame, PublishRefused("the queue is full"))
        else:
            self._on_command(frames.parsed(frame))

    def _settle(self, frame: bytes, fault: WeirError | None) -> None:
        last, multiple = frames.settled(frame)
        self._confirms.settle(last, fault, multiple=multiple)

    def _on_command(self, command: Frame | ContentHeader) -> None:
        if isinstance(command, Command.Close):
            self._write(frames.method(Command.CloseOk(), self.number))
            if not self._has_said_goodbye:  # otherwise its answer to that is still to come
                self._released()
            self.lose(meaning(command.reply_code, command.reply_text))
        elif isinstance(command, Basic.Cancel):  # the queue was deleted, or moved
            self.lose(BrokerUnavailable("the broker delivers no more from this queue"))
        elif isinstance(command, Frame) and self._reply is not None and not self._reply.done():
            self._reply.set_result(command)
        if isinstance(command, Command.CloseOk):
            self._released()
            self.lose(BrokerUnavailable("the channel was closed"))

    def _on_header(self, frame: bytes) -> None:
        content = self._content
        if content is None:
            raise ValueError("a content header came without a method")
        content.left = frames.body_size(frame)
        try:
            header = frames.parsed(frame)
            assert isinstance(header, ContentHeader)
            content.properties = header.properties
        except ValueError:
            content.is_readable = False  # one message of another producer must not cost the connection
        if not content.left:
            self._complete(content)

    def _on_body(self, frame: bytes) -> None:
        content = self._content
        if content is None:
            raise ValueError("a body came without a header")
        part = frame[7:-1]
        content.left -= len(part)
        content.parts.append(part)
        if content.left <= 0:
            self._complete(content)

    def _complete(self, content: Content) -> None:
        self._content = None
        if frames.index(content.method) != frames.DELIVER:
            self._confirms.returned(content.properties.message_id)
        elif self._deliver is not None:
            tag, redelivered = frames.delivery(content.method)
            body = content.parts[0] if len(content.parts) == 1 else b"".join(content.parts)
            self._deliver(Message(tag, redelivered, content.properties, body, content.is_readable))

    async def _call(self, command: Frame, expected: type[Reply]) -> Reply:
        async with self._calling:
            if self.is_closed:
                raise self._fault()
            self._reply = asyncio.get_running_loop().create_future()
            self._write(frames.method(command, self.number))
            try:
                reply = await self._reply
            except asyncio.CancelledError:
                if not self.is_closed:
                    self._has_said_goodbye = True
                    self._write(frames.method(_GOODBYE, self.number))
                self.lose(BrokerUnavailable("the broker did not answer in time"))
                raise
        if not isinstance(reply, expected):
            self.lose(BrokerUnavailable(f"the broker answered {command.name} with {reply.name}"))
            raise self._fault()
        return reply

    def _fault(self) -> WeirError:
        """A new one for each who is told: a raised exception gathers its traceback."""
        fault = self.closing.result()
        return type(fault)(*fault.args)
