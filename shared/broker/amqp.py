"""One connection to the broker: opened, listened to, given up when it falls silent."""

import asyncio
import ssl
from datetime import timedelta
from typing import Self, cast
from urllib.parse import SplitResult, unquote, urlsplit

from pamqp.base import Frame
from pamqp.commands import Connection as Command
from pamqp.common import FieldTable
from pamqp.header import ContentHeader

from shared.broker import frames
from shared.broker.channel import Channel
from shared.broker.reasons import meaning
from shared.errors import BrokerUnavailable, WeirError

_PORTS = {"amqp": 5672, "amqps": 5671}
_CAPABILITIES: FieldTable = {
    "publisher_confirms": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "authentication_failure_close": True,
}
#: A peer that is silent for this many heartbeats is gone.
_MISSED = 3


class Connection(asyncio.Protocol):
    """An open connection. Once `closing` is done it and its channels are of no more use; the result says why."""

    def __init__(self, url: SplitResult, heartbeat: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.closing: asyncio.Future[WeirError] = self._loop.create_future()
        #: Whether the broker has stopped reading from us, because of an alarm over its memory or disk.
        self.blocked = False
        self._url = url
        self._heartbeat = heartbeat
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._cutter = frames.Cutter()
        self._channels: dict[int, Channel] = {}
        self._frame_bytes = self._most_channels = 0
        self._heard = self._loop.time()
        self._paused = False
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, url: str, heartbeat: timedelta) -> Self:
        """Connect and log in; the deadline is the caller's.

        Raises:
            BrokerUnavailable: nobody is there, or they do not answer.
            Misconfigured: they do not let us in.
        """
        parts = urlsplit(url)
        connection = cls(parts, int(heartbeat.total_seconds()))
        try:
            await connection._loop.create_connection(
                lambda: connection,
                parts.hostname or "localhost",
                parts.port or _PORTS[parts.scheme],
                ssl=ssl.create_default_context() if parts.scheme == "amqps" else None,
            )
            await connection._opened
        except OSError as error:
            raise BrokerUnavailable("the broker cannot be reached") from error
        except BaseException:
            connection.abort()
            raise
        return connection

    @property
    def frame_bytes(self) -> int:
        """Largest frame that was agreed upon; 0 until then."""
        return self._frame_bytes

    @property
    def is_closed(self) -> bool:
        return self.closing.done()

    async def channel(self) -> Channel:
        """Open a channel; the deadline is the caller's. Raises as `open` does."""
        if self.is_closed:
            raise BrokerUnavailable(str(self.closing.result()))
        number = next((number for number in range(1, self._most_channels) if number not in self._channels), 0)
        if not number:
            raise BrokerUnavailable("every channel of the connection is in use")
        channel = Channel(number, self, self._frame_bytes, lambda: self._channels.pop(number))
        self._channels[number] = channel
        await channel.open()
        return channel

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Take nothing in until `resume_reading`: the broker waits. Its silence does not count meanwhile."""
        if self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and self._paused:
            self._paused = False
            self._heard = self._loop.time()
            self._transport.resume_reading()

    async def close(self) -> None:
        """Say goodbye and wait for the answer; the deadline is the caller's."""
        if not self.is_closed:
            self.write(frames.method(Command.Close(200, "done", 0, 0), 0))
            await asyncio.wait({self.closing})  # whose waiter may be cancelled, but never itself

    def abort(self) -> None:
        """Drop the connection as it is."""
        self._lose(BrokerUnavailable("the connection was given up"))
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is like one without being one
        self._transport.write(frames.PROTOCOL_HEADER)

    def connection_lost(self, error: Exception | None) -> None:
        self._lose(BrokerUnavailable(f"the connection to the broker was lost ({error or 'closed by the broker'})"))

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        try:
            for kind, number, frame in self._cutter.cut(data):
                if number:
                    if channel := self._channels.get(number):  # otherwise both sides have let go of it meanwhile
                        channel.receive(kind, frame)
                elif kind == frames.METHOD:
                    self._on_command(frames.parsed(frame))
        except ValueError as error:
            self._lose(BrokerUnavailable(f"the broker is not understood ({error})"))

    def _on_command(self, command: Frame | ContentHeader) -> None:
        match command:
            case Command.Start():
                user, password = (unquote(part or "guest") for part in (self._url.username, self._url.password))
                properties: FieldTable = {"product": "weir", "capabilities": _CAPABILITIES}
                self._command(Command.StartOk(properties, "PLAIN", f"\0{user}\0{password}"))
            case Command.Tune():
                self._frame_bytes = self._cutter.most = command.frame_max or frames.FRAME_BYTES
                self._most_channels = command.channel_max or 1 << 16
                self._command(Command.TuneOk(command.channel_max, self._frame_bytes, self._heartbeat))
                self._command(Command.Open(unquote(self._url.path[1:]) or "/"))
                self._beat()
            case Command.OpenOk():
                self._opened.set_result(None)
            case Command.Blocked() | Command.Unblocked():
                self.blocked = isinstance(command, Command.Blocked)
            case Command.Close():
                self._command(Command.CloseOk())
                self._lose(meaning(command.reply_code, command.reply_text))
            case Command.CloseOk():
                self._lose(BrokerUnavailable("the connection was closed"))

    def _command(self, command: Frame) -> None:
        self.write(frames.method(command, 0))

    def _beat(self) -> None:
        """Be heard twice per heartbeat, and listen for the other side."""
        if self.is_closed:
            return
        if not self._paused and self._loop.time() - self._heard > _MISSED * self._heartbeat:
            self._lose(BrokerUnavailable(f"the broker was silent for {_MISSED * self._heartbeat} s"))
            self.abort()
            return
        self.write(frames.HEARTBEAT)
        self._loop.call_later(self._heartbeat / 2, self._beat)

    def _lose(self, fault: WeirError) -> None:
        if self.is_closed:
            return
        self.closing.set_result(fault)
        if not self._opened.done():
            self._opened.set_exception(fault)
            self._opened.exception()  # whoever opened it may have given up already
        for channel in self._channels.values():
            channel.lose(fault)
        if self._transport is not None:
            # What was written last still goes out where it can: the answer to a goodbye.
            self._transport.close()
