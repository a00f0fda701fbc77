"""Faults of the broker and of the way to it."""

import time
from random import Random

from cli.faults.fault import fault
from cli.faults.weir import Weir


@fault("broker-killed", "1", starred=True, quick=True)
def broker_killed(weir: Weir, chance: Random) -> None:
    """The broker is killed with -9 and started again up to five seconds later."""
    weir.rabbit.kill()
    time.sleep(chance.uniform(0, 5))
    weir.rabbit.start()
    weir.rabbit.ready()
