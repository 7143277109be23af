"""Progress of a whole sweep: a live line on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import Progress
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from senet_lab.background import Background
from senet_lab.records.run import State
from senet_lab.records.survey import Survey
from senet_lab.text import clock

REFRESH_SECONDS = 0.5
REFRESH_SHARE = 0.05
"""Upper bound of the share of time spent reading run directories."""
PLAIN_LINE_SECONDS = 15.0
"""Interval of plain lines, seconds."""
SHOWN = (State.RUNNING, State.FAILED, State.DIVERGED)


@contextmanager
def transient_progress(console: Console | None = None) -> Iterator[Progress]:
    """A progress bar that disappears when done; nothing without a terminal."""
    console = console or Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


class SweepProgress(Background):
    """A background thread that reads the run directories and shows the sweep's progress.

    Args:
        survey: the runs to watch.
        workers: number of runs at a time.
        console: output for the progress.
    """

    def __init__(self, survey: Survey, workers: int, console: Console) -> None:
        super().__init__()
        self.survey = survey.refresh()
        self.workers = workers
        self.console = console
        self.started = time.monotonic()
        self.began = dict(self.survey.statuses)
        """Statuses from which the runs were taken up."""
        self.marks = dict(self.began)
        """Statuses since which their pace is measured."""
        self._seconds = 0.0  # of the last refresh

    def line(self) -> str:
        """Runs, epochs, images/s and time left, as one line."""
        counts = self.survey.counts()
        done, epochs = self.survey.epochs()
        seconds = time.monotonic() - self.started
        rate = self._images_since() / seconds if seconds else 0.0
        left = self.survey.seconds_left(self.workers, self.marks)
        parts = [f"runs {counts[State.FINISHED]}/{len(self.survey.runs)}"]
        parts += [f"{counts[state]} {state}" for state in SHOWN if counts[state]]
        parts += [f"epochs {done:.1f}/{epochs}", f"{rate:,.0f} images/s", f"{clock(seconds)} elapsed"]
        parts.append("time left unknown" if left is None else f"about {clock(left)} left")
        return " · ".join(parts)

    def _images_since(self) -> int:
        """Images trained by this command."""
        pairs = ((status.images_done, self.began[run]) for run, status in self.survey.statuses.items())
        return sum(max(0, now - before.images_done) for now, before in pairs)

    def refresh(self) -> None:
        """Read the statuses again.

        A run that resumes counts from its checkpoint. Its pace is measured from the end of its first epoch,
        which holds the warm-up: compilation, and the start of worker processes.
        """
        for directory, status in self.survey.refresh().statuses.items():
            if status.images_per_epoch is None or status.state is State.FAILED:
                continue  # not begun, or about to load its checkpoint
            if status.images_done < self.began[directory].images_done:
                self.began[directory] = self.marks[directory] = status
            mark = self.marks[directory]
            if mark is self.began[directory] and status.epochs_done > mark.epochs_done:
                self.marks[directory] = status

    def work(self) -> None:
        """See `Background`."""
        if self.console.is_terminal:
            with Live(console=self.console, transient=True, refresh_per_second=4) as live:
                while self._wait_and_refresh():
                    live.update(self._bar())
        else:
            shown, ended = time.monotonic(), -1
            while self._wait_and_refresh():
                finished = self.survey.counts()[State.FINISHED]
                if finished > ended or time.monotonic() - shown > PLAIN_LINE_SECONDS:
                    print(self.line(), flush=True)
                    shown, ended = time.monotonic(), finished

    def _wait_and_refresh(self) -> bool:
        """False once the sweep has ended."""
        if self.ended.wait(max(REFRESH_SECONDS, self._seconds / REFRESH_SHARE)):
            return False
        started = time.monotonic()
        self.refresh()
        self._seconds = time.monotonic() - started
        return True

    def _bar(self) -> Table:
        done, epochs = self.survey.epochs()
        table = Table.grid(expand=True)
        table.add_row(ProgressBar(total=epochs, completed=done))
        table.add_row(Text(self.line()))
        return table
