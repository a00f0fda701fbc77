"""The whole table: importing it puts every fault in."""

from cli.faults import broker_faults
from cli.faults.fault import FAULTS

__all__ = ["FAULTS", "broker_faults"]
