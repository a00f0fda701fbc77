"""What is stored is read, and sealed, whatever a database is told of digits and encodings."""

import math
from uuid import UUID

from cold_tier import DAY, MIDNIGHT, ColdTier, event
from factories import Weir, partition

from shared.streams import EVENTS

ROW = (1, MIDNIGHT, 0.1 + 0.2, math.nextafter(1.0, 2.0), 5e-324)


def test_all_digits_are_read_and_sealed(weir: Weir) -> None:
    weir.rows(f"ALTER DATABASE {weir.name} SET extra_float_digits = 0")
    assert weir.scalar("SELECT (0.1::float8 + 0.2::float8)::text") == "0.3"
    cold = ColdTier(weir)
    try:
        partition(weir, "readings", DAY)
        cold.insert([ROW])
        assert cold.all() == [ROW]
        cold.seal()
        assert weir.stored() == 0
        assert cold.all() == [ROW]
    finally:
        cold.engine.dispose()


def test_texts_are_read_and_sealed_letter_by_letter(weir: Weir) -> None:
    weir.rows(f"ALTER DATABASE {weir.name} SET client_encoding = 'LATIN1'")
    assert weir.scalar("SHOW client_encoding") == "LATIN1"
    weir.start("api", "consumer")
    sent = {
        "occurred_at": MIDNIGHT.isoformat(),
        "user_id": "Юрій",
        "event_type": "перегляд",
        "properties": {"ім'я": "ї"},
    }
    answer = weir.http.post("/events", json={"event_id": str(UUID(int=1)), **sent})
    assert answer.status_code == 202, answer.text
    weir.wait_until_stored(1, stream=EVENTS)
    cold = ColdTier(weir, EVENTS)
    row = event((UUID(int=1), MIDNIGHT, *list(sent.values())[1:]))
    try:
        assert cold.all() == [row]
        cold.seal()
        assert weir.stored(EVENTS) == 0
        assert cold.all() == [row]
    finally:
        cold.engine.dispose()
