"""Runs with a complete record, the only ones that figures show."""

import sys
from collections.abc import Sequence

from senet_lab.analysis.runs import Recorded, Run, read_records, selected, usable_runs
from senet_lab.errors import UsageError
from senet_lab.records.selection import Selection
from senet_lab.records.sweep import SweepDirectory
from senet_lab.text import counted, plain

MOST_NAMED = 10
"""Maximal number of left-out runs named one by one."""


def whole_runs(sweep: SweepDirectory, selection: Selection) -> tuple[list[Run], bool]:
    """The selected runs of a sweep; runs with an unreadable or damaged record are reported and left out.

    Returns:
        The runs, and whether none was left out.

    Raises:
        UsageError: no run, no selected run, or none with a whole record.
    """
    return tell_left_out(sweep, selected(read_records(sweep), selection))


def tell_left_out(sweep: SweepDirectory, records: Sequence[Recorded]) -> tuple[list[Run], bool]:
    """`whole_runs` of these records of a sweep.

    Raises:
        UsageError: none is whole.
    """
    runs = usable_runs(records)
    left_out = [one for one in records if not one.is_whole]
    for one in left_out[:MOST_NAMED]:
        print(plain(f"left out, {one.status.state}: {one.directory}: {one.status.error}"), file=sys.stderr)
    if len(left_out) > MOST_NAMED:
        more = len(left_out) - MOST_NAMED
        print(f"left out: {more} more; senet-lab verify {sweep.words} names all", file=sys.stderr)
    if not runs:
        raise UsageError(
            f"{sweep.path}: no whole record; unreadable or damaged: {counted(len(left_out), 'run')}"
        )
    return runs, not left_out
