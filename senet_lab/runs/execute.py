"""Execution of planned runs: start or resume, train, record."""

import math
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from filelock import Timeout

from senet_lab.build import build_dataset
from senet_lab.errors import UsageError
from senet_lab.files import is_there, remove_temporaries
from senet_lab.records.plan import PlannedRun, agree_on_data, require_planned, source_hash
from senet_lab.records.rows import Metrics
from senet_lab.records.run import FINAL, Environment, State, Status
from senet_lab.records.surroundings import changes
from senet_lab.records.survey import as_planned
from senet_lab.records.sweep import SweepDirectory
from senet_lab.records.tables import MissingRowsError
from senet_lab.runs.checkpoint import (
    CheckpointError,
    load_checkpoint,
    require_fit,
    require_loadable,
    require_rows,
    save_checkpoint,
)
from senet_lab.runs.environment import environment
from senet_lab.seeding import OwnGenerators, seed_global
from senet_lab.text import plain
from senet_lab.training.engine import Engine, choose_engine
from senet_lab.training.loop import Training
from senet_lab.training.turns import Turns, in_turns, interleave


def execute(sweep: SweepDirectory, runs: Sequence[PlannedRun], stop: Callable[[], bool]) -> list[State]:
    """Execute planned runs until they end or `stop` turns true; returns their states.

    Several runs alternate step by step in this process, each with its own record; a failure ends only its own
    run.
    """
    return interleave([_execute(sweep, run, stop, is_first=run is runs[0]) for run in runs])


def _execute(
    sweep: SweepDirectory, run: PlannedRun, stop: Callable[[], bool], is_first: bool
) -> Turns[State]:
    """Execute one run; the first one starts even after a stop: all ranks agreed to.

    A finished run is skipped; an unfinished one resumes from its last valid checkpoint. Only one process
    at a time executes a run: for a run that another one holds, its current state is returned.
    """
    directory = sweep.run(run.directory)
    try:
        with directory.lock():
            state = as_planned(run, directory.status()).state
            if state in (*FINAL, State.DAMAGED) or (stop() and not is_first):
                return state
            attempt = _Attempt(sweep, run)
            with sweep.plan_lock():  # plan=new holds it to check whether a run has begun
                require_planned(sweep, run)
                attempt.begin()
            state = yield from attempt.state(stop)
            if state is State.FINISHED:
                directory.tidy(run.config.checkpoint.keep)
            return state
    except Timeout:
        return directory.status().state
    except (OSError, UsageError, LostRecordError) as error:
        # The record cannot be read or written, so only the terminal can show the error.
        _say(f"{directory.path}: {error}")
        return State.FAILED


HEARTBEAT_SECONDS = 5.0
"""Interval, seconds, at which a run writes its progress within an epoch."""


class LostRecordError(Exception):
    """A run's directory was deleted or replaced while it ran."""


class _Attempt:
    """One attempt at a run by the process that holds its lock."""

    def __init__(self, sweep: SweepDirectory, run: PlannedRun) -> None:
        self.sweep = sweep
        self.run = run
        self.directory = sweep.run(run.directory)
        self.identity = self.directory.identity()
        self.epochs = run.config.epochs
        self.before = self.directory.status()
        self.status = Status(
            state=State.RUNNING,
            epochs=self.epochs,
            config_hash=run.hash,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=_now(),
            updated=_now(),
        )

    def begin(self) -> None:
        """Record that the run has begun."""
        remove_temporaries(self.directory.path, self.directory.root)
        self.directory.write_config(self.run.plain)
        self._write(state=State.RUNNING)
        self.directory.remove_error_trace()

    def state(self, stop: Callable[[], bool]) -> Turns[State]:
        """Run to the end, one step per turn, and record the final state."""
        try:
            state, error = yield from self._train(stop)
            self._end(state, error)
            return state
        except LostRecordError:
            raise
        except Exception as error:
            reason = traceback.format_exception_only(error)[-1].strip()
            trace = traceback.format_exc()
            self._end(State.FAILED, " ".join(reason.split()))
            self.directory.write_error_trace(trace)
            return State.FAILED

    def _train(self, stop: Callable[[], bool]) -> Turns[tuple[State, str | None]]:
        engine = choose_engine(self.run.config.trainer)
        data = build_dataset(self.run.config.dataset).fingerprint()
        with self.sweep.plan_lock():
            agree_on_data(self.sweep, self.run, data)
        now = environment(engine, self.run.threads, data)
        if self.run.config.checkpoint.strict:
            self._require_same(now)
        self.directory.add_environment(now)
        generators = OwnGenerators(engine.device)

        @contextmanager
        def own_settings() -> Iterator[None]:
            with engine.settings(self.run.threads), generators.in_place():
                yield

        return (yield from in_turns(self._epochs(engine, stop), own_settings))

    def _epochs(self, engine: Engine, stop: Callable[[], bool]) -> Turns[tuple[State, str | None]]:
        training = self._begin(engine)
        self.epoch_started = self.saved = time.monotonic()
        self._progress(training)
        state = yield from training.run(
            lambda: self._stops(training, stop),
            lambda metrics, state: self._after_epoch(training, metrics, state),
        )
        last = training.epochs_done - 1
        return state, f"the loss of epoch {last} is not finite" if state is State.DIVERGED else None

    def _after_epoch(self, training: Training, metrics: Metrics, state: State) -> None:
        """Record an epoch, and write a checkpoint if one is due."""
        self._record(training, metrics)
        self.epoch_started = time.monotonic()
        if state is State.DIVERGED:
            return
        if self._checkpoint_is_due(training.epochs_done, time.monotonic() - self.saved):
            self._require_own_record()
            rows = self.directory.hashes()
            content = {**training.state_dict(), "source": source_hash(), "rows": rows}
            save_checkpoint(self.directory, content, self.run.hash)
            self.saved = time.monotonic()
        self._progress(training)

    def _begin(self, engine: Engine) -> Training:
        """Restore the last valid checkpoint and drop the rows after it, or start from scratch."""
        seed_global(self.run.config.seed)
        training = Training(self.run.config, engine)
        if is_there(self.directory.checkpoint_file):
            try:
                state = load_checkpoint(self.directory, {self.run.hash, *self.run.continues})
                fresh = training.state_dict()
                require_fit(self.directory, state, fresh, self.epochs)
                require_loadable(self.directory, state, fresh, self.run.config)
                require_rows(self.directory, state)
                lengths = len(list(training.coefficients())), len(training.pre_activations())
                self.directory.keep_epochs(state["epochs_done"], *lengths)
            except (CheckpointError, MissingRowsError) as error:
                mark = self.directory.set_aside()
                self._note(f"{error}: this run starts again; its old files are kept as *.{mark}.*")
            else:
                self._resume(training, state)
                return training
        if self.before.config_hash in self.run.continues or self.before.digests:  # it had reached its end
            self.directory.set_aside()
        self.directory.keep_epochs(0, 0)
        self._record_pre_activations(training)
        return training

    def _resume(self, training: Training, state: dict[str, Any]) -> None:
        training.load_state_dict(state)
        self.status = replace(
            self.status,
            notes=self.before.notes,
            seconds=sum(self.directory.metric("seconds")),
            test_top1=_number(self.directory.metric("test_top1")[-1]),
        )
        if state.get("source") != source_hash():
            self._note(f"{self.directory.path} resumes with other code than it began with")
        attempts = self.directory.environments()
        change = changes(*attempts[-2:]) if len(attempts) > 1 else ""
        if change:
            self._note(f"{self.directory.path} resumes with {change}")

    def _require_same(self, now: Environment) -> None:
        """Raise UsageError if a checkpoint would be resumed in another environment."""
        before = self.directory.environments()[-1:]
        change = changes(before[0], now) if before and is_there(self.directory.checkpoint_file) else ""
        if change:
            raise UsageError(f"checkpoint.strict=true: {self.directory.path} would resume with {change}")

    def _note(self, sentence: str) -> None:
        self.status = replace(self.status, notes=(*self.status.notes, sentence))
        _say(sentence)

    def _checkpoint_is_due(self, epochs_done: int, seconds: float) -> bool:
        settings = self.run.config.checkpoint
        if epochs_done == self.epochs:
            return settings.keep
        return epochs_done % settings.every == 0 and seconds >= settings.min_seconds

    def _record(self, training: Training, metrics: Metrics) -> None:
        self._require_own_record()
        rows = list(training.coefficients())
        if rows:
            self.directory.append_activations(rows)
        self._record_pre_activations(training)
        self.directory.append_metrics(metrics)
        self.status = replace(
            self.status,
            seconds=self.status.seconds + metrics.seconds,
            test_top1=metrics.test_top1,
            epochs_done=training.epochs_done,
        )

    def _record_pre_activations(self, training: Training) -> None:
        rows = training.pre_activations()
        if rows:
            self.directory.append_pre_activations(rows)

    def _progress(self, training: Training) -> None:
        self._write(
            epochs_done=training.epochs_done,
            images_done=training.images_done,
            images_per_epoch=training.images_per_epoch,
            epoch_seconds=time.monotonic() - self.epoch_started,
        )
        self.progress_written = time.monotonic()

    def _stops(self, training: Training, stop: Callable[[], bool]) -> bool:
        """Write progress at intervals; True if the run should stop. Called between two steps."""
        if time.monotonic() - self.progress_written > HEARTBEAT_SECONDS:
            self._progress(training)
        return stop()

    def _end(self, state: State, error: str | None = None) -> None:
        seconds = 0.0 if state is State.FINISHED else self.status.epoch_seconds
        digests = self.directory.digests() if state in FINAL else {}
        self._write(state=state, error=error, finished=_now(), epoch_seconds=seconds, digests=digests)

    def _write(self, **changes: Any) -> None:
        """Write the status with `changes`."""
        self._require_own_record()
        self.status = replace(self.status, updated=_now(), **changes)
        self.directory.write_status(self.status)

    def _require_own_record(self) -> None:
        """Raise LostRecordError if the directory was replaced since this process took its lock."""
        if self.directory.identity() != self.identity:
            raise LostRecordError("the directory was deleted or replaced while the run wrote to it")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _say(sentence: str) -> None:
    with suppress(OSError):  # a full disk behind standard error must not cost the run
        print(plain(sentence), file=sys.stderr, flush=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
