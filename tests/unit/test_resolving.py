"""A JSON message in the consumer: each rejected record becomes a dead letter, and the body is split once for all."""

from uuid import UUID, uuid4

from consumer.deliveries import Delivery, Part
from shared.streams.rejections import Rejected
from shared.streams.stream import Encoded, Submission


class Sent:
    """A submission of five records that counts how often it is split."""

    def __init__(self, *rejected: int) -> None:
        self.splits = 0
        self._rejected = [Rejected(index, "unknown_device", "device_id") for index in rejected]

    def delivery(self) -> Delivery:
        submission = Submission(frozenset[UUID](), self._items, self._encode)
        return Delivery(1, 0, 0, [Part(uuid4(), 0, b"")], submission=submission)

    def _items(self) -> list[bytes]:
        self.splits += 1
        return [b"record %d" % index for index in range(5)]

    def _encode(self, keys: object) -> Encoded:
        return Encoded(b"rows", 5 - len(self._rejected), self._rejected)


def test_body_is_split_once_however_many_records_are_rejected():
    sent = Sent(0, 2, 4)
    delivery = sent.delivery()
    delivery.resolve({})
    (part,) = delivery.parts
    assert (part.records, part.rows, sent.splits) == (5, b"rows", 1)
    assert [(one.index, one.code, one.body) for one in part.dead] == [
        (index, "unknown_device", b"record %d" % index) for index in (0, 2, 4)
    ]


def test_body_without_a_rejected_record_is_not_split():
    sent = Sent()
    delivery = sent.delivery()
    delivery.resolve({})
    assert (delivery.parts[0].dead, sent.splits) == ([], 0)
