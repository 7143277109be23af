"""Comparisons on disk without any training: a request's runs get records with errors that a test makes up."""

from collections.abc import Callable, Sequence
from pathlib import Path

from senet_lab.composition.command import compose_command
from senet_lab.records.plan import Plan, PlannedRun
from senet_lab.records.protocol import Protocol, Stage
from senet_lab.records.rows import Metrics
from senet_lab.records.run import FINAL, Environment, State, Status
from senet_lab.records.survey import as_planned
from senet_lab.records.trials import role_of
from senet_lab.runs.planning import Request
from senet_lab.runs.stages import stages

ErrorOf = Callable[[PlannedRun], float | None]
"""An error of a run: validation in tuning, test in confirmation; None where it diverged."""

SMALL = (
    "experiment=verdict",
    "activation=relu,mish",
    "protocol.trials=3",
    "protocol.space.lr=[0.01,1.0]",
    "protocol.tuning_seeds=[0,1]",
    "protocol.confirmation_seeds=[10,11,12]",
)
"""Two arms at lr 0.01, 0.1 and 1."""

MACHINE = Environment(
    "0.2", None, "3.12", "2.15", "a processor", "cpu", "bfloat16", threads=1, host="here", platform="Linux"
)


def arguments_of(folder: Path, *overrides: str) -> list[str]:
    """The arguments of `train` for the small comparison in `folder`/outputs/verdict."""
    return [*SMALL, f"outputs={folder / 'outputs'}", *overrides]


def requests(
    arguments: Sequence[str],
    error_of: ErrorOf,
    confirms: Callable[[Plan, Protocol], bool] = lambda *_: True,
    config_dir: Path | None = None,
    train_error_of: ErrorOf | None = None,
) -> list[Request]:
    """All requests of the command, each one's runs finished before the next is asked for."""
    command = compose_command("train", arguments, config_dir=config_dir)
    found = []
    for request in stages(command, confirms):
        found.append(request)
        finish(request.plan, error_of, train_error_of)
    return found


def finish(plan: Plan, error_of: ErrorOf, train_error_of: ErrorOf | None = None) -> None:
    """Records for the runs of a plan that are not at their end; their training errors are `error_of`, too."""
    for run in plan.runs:
        directory = plan.sweep.run(run.directory)
        if as_planned(run, directory.status()).state in FINAL:
            continue
        directory.write_config(run.plain)
        error = error_of(run)
        accuracy = None if error is None else 1 - error
        is_tuning = role_of(run).stage is Stage.tune
        tested, validated = (None, accuracy) if is_tuning else (accuracy, None)
        train_error = (train_error_of or error_of)(run)
        learned = 0.1 if train_error is None else 1 - train_error
        epochs, lr = run.plain["epochs"], run.plain["lr"]
        for epoch in range(len(directory.metric("epoch")), epochs):
            row = Metrics(
                epoch, lr, 1.0, learned, None, tested, tested, 1.0, None, None, validated, validated
            )
            directory.append_metrics(row)
        directory.add_environment(MACHINE)
        state = State.DIVERGED if error is None else State.FINISHED
        directory.write_status(Status(state, epochs, epochs, seconds=2.0, config_hash=run.hash))
