"""A float is read as it is stored, whatever a database is told of digits."""

import math

from cold_tier import DAY, MIDNIGHT, ColdTier
from factories import Weir, partition

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
