"""Runs with a complete record, the only ones that figures show."""

import sys

from senet_lab.analysis.runs import Run, read_runs
from senet_lab.errors import UsageError
from senet_lab.records.run import Status
from senet_lab.records.selection import Selection, select
from senet_lab.records.sweep import SweepDirectory
from senet_lab.text import plain

MOST_NAMED = 10
"""Maximal number of left-out runs named one by one."""


def whole_runs(sweep: SweepDirectory, selection: Selection) -> list[Run]:
    """The selected runs of a sweep; runs with an unreadable or damaged record are reported and left out.

    Raises:
        UsageError: no run, no selected run, or none with a whole record.
    """
    left_out: dict[str, Status] = {}
    runs = read_runs(sweep, left_out)
    for directory, status in list(left_out.items())[:MOST_NAMED]:
        print(plain(f"left out, {status.state}: {directory}: {status.error}"), file=sys.stderr)
    if len(left_out) > MOST_NAMED:
        more = len(left_out) - MOST_NAMED
        print(f"left out: {more} more; senet-lab verify {sweep.words} names all", file=sys.stderr)
    if not runs:
        raise UsageError(f"{sweep.path}: the records of all {len(left_out)} runs are unreadable or damaged")
    return select(runs, selection)
