"""The whole table: importing this puts every fault in, in the order of their modules."""

from cli.faults import broker_faults, database_faults, message_faults, process_faults
from cli.faults.fault import FAULTS

__all__ = ["FAULTS", "broker_faults", "database_faults", "message_faults", "process_faults"]
