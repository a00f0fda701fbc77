"""The consumer's core over thousands of seeds: whatever fails, nothing lost, nothing twice, no innocent dead-lettered.

`pytest tests/simulation --seed N` runs one seed again.
"""

import pytest
from simulation.world import World

SEEDS, CHUNK = 10_000, 500
FAULTY_STEPS, STEPS_TO_SETTLE = 120, 20_000


def simulate(seed):
    """Safety while everything fails; then the faults end, and all must be settled."""
    world = World(seed)
    try:
        for _ in range(FAULTY_STEPS):
            world.happen()
            world.check()
        world.is_faulty = False
        for _ in range(STEPS_TO_SETTLE):
            if not world.queue and not world.unacked and not world.parked:
                break
            world.happen()
        world.check()
        world.check_all_is_settled()
    except AssertionError as error:
        raise AssertionError(f"{error or 'it failed'}: pytest tests/simulation --seed {seed}") from error
    return world


def test_one_seed(request):
    """The one that was asked for, or the first."""
    simulate(request.config.getoption("--seed") or 0)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_nothing_is_lost_nothing_stored_twice_and_everything_settles(first):
    for seed in range(first, first + CHUNK):
        simulate(seed)


def test_seeds_reach_what_they_are_for():
    """A simulation in which nothing goes wrong would prove nothing."""
    worlds = [simulate(seed) for seed in range(300)]
    assert sum(world.crashes for world in worlds) > 300
    assert sum(any(index is None for _, index in world.letters) for world in worlds) > 50  # quarantined
    assert sum(any(index is not None for _, index in world.letters) for world in worlds) > 100
    assert sum(world.parkings for world in worlds) > 300
    assert sum(world.openings for world in worlds) > 100
    assert sum(world.writers > 1 for world in worlds) > 100
