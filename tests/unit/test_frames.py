"""Frames come out as they went in, however the stream was cut on its way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame as codec
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from shared.broker import frames

FRAME_BYTES = 64

bodies = st.binary(max_size=300)


def stream_of(body):
    """A message as it stands in a stream: method, header, body in as many frames as it needs."""
    properties = Basic.Properties(message_id="m", headers={"records": 3})
    return b"".join(
        (
            frames.method(Basic.Deliver("tag", 7, redelivered=True, exchange="e", routing_key="r"), 1),
            *frames.content(1, properties, body, FRAME_BYTES),
        )
    )


@given(st.lists(bodies, max_size=3), st.lists(st.integers(1, 40)))
def test_stream_is_cut_into_the_same_frames_wherever_it_was_split(sent, lengths):
    stream = b"".join(stream_of(body) for body in sent)
    cutter, found, start = frames.Cutter(), [], 0
    for length in [*lengths, len(stream)]:
        found += cutter.cut(stream[start : start + length])
        start += length
    assert b"".join(frame for _, _, frame in found) == stream
    assert b"".join(frame[7:-1] for kind, _, frame in found if kind == frames.BODY) == b"".join(sent)
    assert all(len(frame) <= FRAME_BYTES for kind, _, frame in found if kind == frames.BODY)


#: pamqp packs them as signed.
tags = st.integers(0, 2**63 - 1)


@given(st.binary(max_size=127), tags, st.booleans())
def test_delivery_is_read_as_the_codec_would(tag, number, redelivered):
    frame = frames.method(Basic.Deliver(tag.hex(), number, redelivered, "weir", "readings"), 3)
    assert frames.index(frame) == frames.DELIVER
    assert frames.delivery(frame) == (number, redelivered)


@given(tags, st.booleans(), st.sampled_from([Basic.Ack, Basic.Nack]))
def test_settling_is_read_and_written_as_the_codec_would(number, multiple, command):
    assert frames.settled(frames.method(command(number, multiple), 3)) == (number, multiple)
    assert frames.ack(3, number, multiple=multiple) == frames.method(Basic.Ack(number, multiple), 3)


def test_content_is_written_as_the_codec_would():
    properties = Basic.Properties(message_id="m")
    header, *body = frames.content(2, properties, b"x" * 100, FRAME_BYTES)
    assert header == codec.marshal(ContentHeader(0, 100, properties), 2)
    assert b"".join(body).count(b"x") == 100


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="another protocol"),
        pytest.param(frames.HEARTBEAT[:-1] + b"\0", id="no end"),
        pytest.param(b"\x03\0\1\x7f\xff\xff\xff....", id="larger than agreed"),
    ],
)
def test_what_is_no_amqp_is_said_to_be_none(stream):
    with pytest.raises(ValueError, match="frame"):
        list(frames.Cutter().cut(stream))


def test_header_that_fits_no_frame_is_refused_before_anything_is_written():
    properties = Basic.Properties(headers={"keyed": bytearray(FRAME_BYTES)})
    with pytest.raises(ValueError, match="too large"):
        list(frames.content(1, properties, b"", FRAME_BYTES))


def test_frame_that_cannot_be_read_is_a_value_error():
    with pytest.raises(ValueError, match="cannot be read"):
        frames.parsed(b"\x01\0\1\0\0\0\4\xff\xff\xff\xff\xce")
