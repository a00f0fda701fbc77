"""Faults to survive that this harness does not run, and why."""

UNCOVERED: dict[str, str] = {}
