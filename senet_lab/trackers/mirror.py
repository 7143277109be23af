"""Mirroring of run directories into a tracker: sends the epochs that it lacks.

This runs in a thread of the launching process: it covers all workers of any launcher, needs the library on
one host only, and after a crash or an outage the next command sends the rest. Training does not depend on it,
and the run directories are the only state.
"""

import hashlib
import json
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from senet_lab.background import Background
from senet_lab.composition.command import Command
from senet_lab.files import write_atomic
from senet_lab.records.plan import NOT_RESULTS, PlannedRun
from senet_lab.records.run import FINAL, State, Status
from senet_lab.records.survey import Survey
from senet_lab.text import plain
from senet_lab.trackers.pictures import Pictures
from senet_lab.trackers.tracker import Curve, TrackedRun, Tracker

ROUND_SECONDS = 0.5
"""Polling interval, seconds."""


def mirror(tracker: Tracker | None, survey: Survey, command: Command) -> AbstractContextManager[object]:
    """Within, mirror the runs of `survey` into `tracker`; complete it at the end."""
    return Mirror(tracker, survey, Pictures(survey.sweep, command)) if tracker else nullcontext()


@dataclass
class _Open:
    """A curve being sent; the lock keeps other commands from sending it, too."""

    curve: Curve
    epochs: int
    lock: FileLock


class Mirror(Background):
    """Sends new epochs, and closes the curves of ended runs.

    Live, it covers running and ended runs; at the end of the context, all that have begun. A tracker's
    failure is reported in one line and does not affect the runs.

    Args:
        tracker: the tracker.
        survey: the runs, refreshed by another thread.
        pictures: draws the figures of ended runs.
    """

    def __init__(self, tracker: Tracker, survey: Survey, pictures: Pictures) -> None:
        super().__init__()
        self.tracker = tracker
        self.survey = survey
        self.pictures = pictures
        self._open: dict[str, _Open] = {}
        self._complete: set[str] = set()

    def work(self) -> None:
        """See `Background`."""
        try:
            with self.pictures:
                while not self.ended.wait(ROUND_SECONDS):
                    self._round(State.RUNNING, *FINAL)
                self.survey.refresh()
                self._round(*set(State) - {State.PLANNED, State.DAMAGED})
        except Exception as error:  # no error of a tracker may affect the runs
            reason = plain(" ".join(f"{type(error).__name__}: {error}".split()))
            print(
                f"tracker={self.tracker.folder.name} failed, and nothing more is sent to it: {reason}; "
                "the runs are not affected, and repeating the command sends the missing epochs",
                file=sys.stderr,
                flush=True,
            )
        finally:
            for opened in self._open.values():
                opened.lock.release()

    def _round(self, *states: State) -> None:
        for run in self.survey.runs:
            state = self.survey.state(run)
            if run.directory in self._open or (state in states and run.directory not in self._complete):
                self._send(run, self.survey.statuses[run.directory])

    def _send(self, run: PlannedRun, status: Status) -> None:
        if run.directory not in self._open and not self._begin(run, status):
            return
        opened = self._open[run.directory]
        record = self.survey.sweep.run(run.directory)
        if status.epochs_done > opened.epochs or status.state is not State.RUNNING:
            for row in record.metrics().dropna(axis="columns", how="all").to_dict("records"):
                epoch = int(row.pop("epoch"))
                if epoch >= opened.epochs:
                    opened.curve.log(epoch, {str(key): value for key, value in row.items()})
                    opened.epochs = epoch + 1
        if status.state is not State.RUNNING:
            self._end(run, status)

    def _begin(self, run: PlannedRun, status: Status) -> bool:
        """Open the curve, unless it was sent completely, or another command is sending it."""
        folder = self.tracker.folder / run.directory
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return False
        if status.state in FINAL and _read(folder / "sent.json") == _receipt(status):
            lock.release()
            self._complete.add(run.directory)
            return False
        config = {key: value for key, value in run.plain.items() if key not in NOT_RESULTS}
        identity = f"{self.survey.sweep.name}/{run.directory}/{run.hash}"
        tracked = TrackedRun(
            self.survey.sweep.name,
            run.directory,
            folder,
            config,
            hashlib.sha256(identity.encode()).hexdigest()[:16],
        )
        try:
            curve = self.tracker.open(tracked)
        except BaseException:
            lock.release()
            raise
        self._open[run.directory] = _Open(curve, curve.epochs, lock)
        return True

    def _end(self, run: PlannedRun, status: Status) -> None:
        opened = self._open[run.directory]
        final = status.state in FINAL
        opened.curve.end(status.state, self.pictures.of(run, status.state) if final else {})
        if final:
            text = json.dumps(_receipt(status)) + "\n"
            write_atomic(self.tracker.folder / run.directory / "sent.json", text)
            self._complete.add(run.directory)
        del self._open[run.directory]
        opened.lock.release()


def _receipt(status: Status) -> dict[str, Any]:
    """Identification of a run's end, to detect a later one."""
    return {"state": status.state, "epochs_done": status.epochs_done, "finished": status.finished}


def _read(file: Path) -> Any:
    return json.loads(file.read_text("utf-8")) if file.exists() else None
