"""`senet-lab remove`: remove runs, selected by their axes; without `confirm=true`, only list them."""

import shutil

from senet_lab.composition.command import Command
from senet_lab.config import RemoveConfig
from senet_lab.errors import UsageError
from senet_lab.records.plan import require_plan
from senet_lab.records.selection import select
from senet_lab.records.sweep import sweep_directory
from senet_lab.text import plain


def remove(command: Command) -> int:
    """List the selected runs; with `confirm=true`, remove them and their records.

    Raises:
        UsageError: nothing selected, no such runs, or a run that a live process executes; nothing is removed
            then.
    """
    config: RemoveConfig = command.config
    sweep = sweep_directory(config.outputs, config.name)
    if not command.selection:
        raise UsageError("remove: select runs, as in activation=mish lr=0.1")
    plan = require_plan(sweep)
    if plan.protocol is not None:
        raise UsageError(f"{sweep.path} is a comparison, whose runs belong together: remove the whole folder")
    with sweep.plan_lock():
        chosen = select(plan.runs, command.selection)
        held = [run.directory for run in chosen if sweep.run(run.directory).is_held()]
        if held:
            raise UsageError(f"{sweep.path / held[0]} is being executed: nothing was removed")
        for run in chosen:
            print(plain(str(sweep.path / run.directory)))
        if not config.confirm:
            count = f"{len(chosen)} of {len(plan.runs)} runs"
            print(f"{count} would be removed with their records: confirm=true removes them")
            return 0
        plan.without(chosen).write()
        for run in chosen:
            record = sweep.run(run.directory).path
            if record.exists():
                shutil.rmtree(record)
    print(f"{len(chosen)} of {len(plan.runs)} runs removed")
    return 0
