"""Has files of a local folder, and their names, on disk."""

import os
from collections.abc import Iterable
from pathlib import Path


def unsettled(folder: str) -> list[str]:
    """Return the folders whose entries change when this one is made: itself, and up to the first that is there."""
    found = [Path(folder)]
    while not found[-1].exists():
        found.append(found[-1].parent)
    return [str(one) for one in found]


def settle(places: Iterable[str]) -> None:
    """Force files and folders to disk. Raises OSError."""
    for place in places:
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
