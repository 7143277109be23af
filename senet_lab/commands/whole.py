"""Runs with a complete record, the only ones that figures, tables and pages show."""

import sys
from collections.abc import Mapping, Sequence

from senet_lab.analysis.runs import Recorded, Run, left_out, read_records, selected, usable_runs
from senet_lab.errors import UsageError
from senet_lab.records.run import Status
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
    return whole_of(sweep, selected(read_records(sweep), selection))


def whole_of(sweep: SweepDirectory, records: Sequence[Recorded]) -> tuple[list[Run], bool]:
    """`whole_runs` of these records of a sweep.

    Raises:
        UsageError: none is whole.
    """
    runs, others = usable_runs(records), left_out(records)
    is_complete = tell_left_out(others, f"senet-lab verify {sweep.words}")
    if not runs:
        raise UsageError(
            f"{sweep.path}: no whole record; unreadable or damaged: {counted(len(others), 'run')}"
        )
    return runs, is_complete


def tell_left_out(others: Mapping[str, Status], verify: str) -> bool:
    """Name the runs that a figure, table or page leaves out; True if there are none.

    Args:
        others: statuses of unreadable and damaged runs.
        verify: the command that names all.
    """
    for directory, status in [*others.items()][:MOST_NAMED]:
        print(plain(f"left out, {status.state}: {directory}: {status.error}"), file=sys.stderr)
    if len(others) > MOST_NAMED:
        print(f"left out: {len(others) - MOST_NAMED} more; {verify} names all", file=sys.stderr)
    return not others
