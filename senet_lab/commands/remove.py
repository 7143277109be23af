"""`senet-lab remove`: remove runs, selected by their axes; without `confirm=true`, only list them."""

from senet_lab.composition.command import Command
from senet_lab.config import RemoveConfig
from senet_lab.errors import UsageError
from senet_lab.files import is_folder, remove_folder
from senet_lab.records.plan import require_plan
from senet_lab.records.selection import select
from senet_lab.records.sweep import sweep_directory
from senet_lab.text import counted, plain


def remove(command: Command) -> int:
    """List the selected runs; with `confirm=true`, remove them and their records.

    Raises:
        UsageError: nothing selected, no such runs, one that a live process executes or that lies behind a
            symbolic link; nothing is removed then.
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
        records = [sweep.run(run.directory) for run in chosen]
        begun = [record for record in records if is_folder(record.path, record.root)]
        held = [record.path for record in begun if record.is_held()]
        if held:
            raise UsageError(f"{held[0]} is being executed: nothing was removed")
        for record in records:
            print(plain(str(record.path)))
        if not config.confirm:
            count = f"{len(chosen)} of {counted(len(plan.runs), 'run')}"
            print(f"{count} would be removed with their records: confirm=true removes them")
            return 0
        plan.without(chosen).write()
        for record in begun:
            remove_folder(record.path, record.root)
    print(f"{len(chosen)} of {counted(len(plan.runs), 'run')} removed")
    return 0
