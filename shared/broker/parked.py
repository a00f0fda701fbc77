"""Messages on their way into the parking queue and out of it: as they came, but for what the broker would act upon."""

from pamqp.commands import Basic
from pamqp.common import FieldTable

from shared.broker.messages import PERSISTENT

#: Marks a message that a person has had tried again: it is not parked once more.
RELEASED = "weir-released"
#: What the broker adds to the headers of what it hands out.
_OF_THE_BROKER = ("x-delivery-count", "x-death")


def moved(properties: Basic.Properties, *, is_released: bool) -> Basic.Properties:
    """Make the properties of a message that is published again: who made it and under which id stays.

    An expiry would let it vanish, and a user id must be that of our own connection, so the producer becomes the app id:
    the receipt follows from it either way (`foreign_receipt`).
    """
    headers: FieldTable = {
        name: value for name, value in (properties.headers or {}).items() if name not in _OF_THE_BROKER
    }
    headers.pop(RELEASED, None)
    if is_released:
        headers[RELEASED] = True
    return Basic.Properties(
        message_id=properties.message_id,
        message_type=properties.message_type,
        content_type=properties.content_type,
        app_id=properties.app_id or properties.user_id,
        delivery_mode=PERSISTENT,
        headers=headers,
    )
