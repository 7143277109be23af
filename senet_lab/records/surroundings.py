"""Differences between attempts' software and hardware that can change a run's numbers."""

from collections.abc import Iterable

from senet_lab.records.run import Environment

PARTS = {"torch": "torch", "device": "device_type", "precision": "precision"}
"""Fields of `Environment`, by their names in messages."""


def changes(before: Environment, now: Environment) -> str:
    """Differences of two attempts, as `torch 2.15 instead of 2.14`; empty if there are none."""
    values = {name: (getattr(before, part), getattr(now, part)) for name, part in PARTS.items()}
    return ", ".join(f"{name} {new} instead of {old}" for name, (old, new) in values.items() if old != new)


def mixture(attempts: Iterable[Environment]) -> str:
    """Differences among attempts, with all values, as `torch 2.14 and 2.15`; empty if there are none."""
    attempts = list(attempts)
    found = {name: sorted({getattr(one, part) for one in attempts}) for name, part in PARTS.items()}
    return ", ".join(f"{name} {' and '.join(values)}" for name, values in found.items() if len(values) > 1)
