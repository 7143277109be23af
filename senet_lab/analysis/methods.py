"""A comparison's methods section and reproducibility checklists, generated from its records."""

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from senet_lab.analysis.effects import BOOTSTRAP_FROM
from senet_lab.analysis.trials import Comparison
from senet_lab.config import Family, Sampling, Tuning
from senet_lab.records.protocol import Cell
from senet_lab.records.run import Environment
from senet_lab.text import counted, separator

METRICS = {"top1": "top-1 error", "top5": "top-5 error"}
FIXED = ("activation", "se", "optimizer", "schedule", "augment", "init")
"""Parts of a run that all arms share, unless they are compared."""
NOT_ARGUMENTS = ("_target_", "name", "label", "style", "reference")


def methods(found: Comparison) -> list[str]:
    """The methods section, one string per paragraph: from the question to software and hardware."""
    return [
        _question(found),
        _data(found),
        _training(found),
        _tuning(found),
        _confirmation(found),
        _tests(found),
        _machine(found),
    ]


def _question(found: Comparison) -> str:
    declared = found.protocol.declared
    return (
        f"We compared {_listed(found.protocol.arms)}; the baseline was {found.protocol.baseline}. Network "
        f"and data set: {'; '.join(found.protocol.blocks)}. The metric was the {METRICS[declared.metric]} on "
        f"the test images after the last epoch; differences below {declared.smallest_difference:g} "
        "percentage points were declared to be of no interest. All of this and the rules below were fixed "
        "before the first run."
    )


def _data(found: Comparison) -> str:
    sentences = []
    for cell in _one_for_each(found.protocol.cells, lambda cell: cell.plain["dataset"]["label"]):
        node = cell.plain["dataset"]
        drawn = (
            "drawn anew from each run's seed"
            if "dataset.split_seed" in cell.follows
            else f"the same for all runs (split seed {node.get('split_seed')})"
        )
        sentences.append(
            f"{node['label']}: {cell.images:,} training and {cell.validation_images:,} validation images of "
            f"{cell.classes} classes, split by class, {drawn}."
        )
    return (
        f"{' '.join(sentences)} The validation images served the tuning alone; the test images were read "
        "once, after the last epoch of each confirmation run."
    )


def _training(found: Comparison) -> str:
    sentences = []
    for cell in _one_for_each(found.protocol.cells, lambda cell: cell.block):
        fixed = [f"{key}: {_node(cell.plain[key])}" for key in FIXED if key != found.protocol.declared.arms]
        sentences.append(
            f"{cell.block}: {cell.parameters:,} parameters with {cell.arm}, "
            f"{counted(cell.plain['epochs'], 'epoch')}, "
            f"batches of {cell.plain['batch_size']}; {'; '.join(fixed)}."
        )
    return f"Fixed for all arms, so that the findings hold for these choices: {' '.join(sentences)}"


def _tuning(found: Comparison) -> str:
    declared, tuning = found.protocol.declared, found.tuning
    space = _listed([f"{key} from {low:g} to {high:g}" for key, (low, high) in declared.space.items()])
    kind = "a grid" if declared.sampling is Sampling.grid else "Halton's sequence"
    trials = (
        tuning[~tuning["widened"]]
        .groupby(["block", "arm"])
        .apply(lambda runs: len(runs[found.axes].drop_duplicates()))
    )
    how = (
        "all to the last epoch"
        if declared.tuning is Tuning.full
        else "by successive halving (a third of the trials, at least two, goes on for three times the "
        f"epochs: {found.protocol.promotion})"
    )
    wide = list(tuning.loc[tuning["widened"], "block"].unique())
    more = ""
    if wide:
        more = f" A best trial lay at the border ({'; '.join(wide)}); there all arms tried more beyond it."
    return (
        f"Every arm had the same space, {space}, on a logarithmic scale, and the same "
        f"{counted(trials.max(), 'trial')} from {kind}, each with {_seeds(declared.tuning_seeds)}, {how}: "
        f"{counted(len(tuning), 'run')}. Chosen was {found.protocol.choice}.{more} "
        f"Divergence: {found.protocol.diverged}; "
        f"{int(tuning['diverged'].sum())} of the tuning runs diverged."
    )


def _confirmation(found: Comparison) -> str:
    finals = found.finals
    return (
        "Each arm was then trained with its chosen values and "
        f"{_seeds(found.protocol.declared.confirmation_seeds)}, shared by all arms and no tuning run: "
        f"{counted(len(finals), 'run')}, of which {int(finals['diverged'].sum())} diverged. A seed "
        "determines initial weights, order and augmentation."
    )


def _tests(found: Comparison) -> str:
    declared, n = found.protocol.declared, len(found.protocol.declared.confirmation_seeds)
    kind = "Student's t" if n < BOOTSTRAP_FROM else "BCa bootstrap (9,999 draws)"
    family = "every two arms" if declared.family is Family.pairs else "each arm against the baseline"
    return (
        f"Runs that share a seed are pairs. Intervals of mean differences are 95 % {kind} intervals of "
        f"single comparisons. Tests are two-sided paired t tests; the family is {family} over all blocks, "
        "corrected by Holm's method at 5 %. A difference is claimed where the corrected p is below 5 % and "
        f"the interval lies on that side of 0. Equivalence within "
        f"{counted(declared.smallest_difference, 'point')} is claimed by two one-sided t tests with the same "
        "correction. The t tests assume that mean differences are about normal."
    )


def _machine(found: Comparison) -> str:
    attempts = environments(found)
    seconds = found.tuning["seconds"].sum() + found.finals["seconds"].sum()
    versions = {f"senet-lab {one.senet_lab}, PyTorch {one.torch}, Python {one.python}" for one in attempts}
    devices = {
        f"{one.device} ({one.precision}, {counted(one.threads, 'CPU thread')} a run)" for one in attempts
    }
    commits = {one.git.commit[:12] + (" (edited)" if one.git.dirty else "") for one in attempts if one.git}
    commit = f", commit {_listed(sorted(commits))}" if commits else ""
    return (
        f"Software: {_listed(sorted(versions))}{commit}. Hardware: {_listed(sorted(devices))}. The runs took "
        f"{_duration(seconds)} of training in all, a confirmation run "
        f"{_duration(found.finals['seconds'].mean())}."
    )


def environments(found: Comparison) -> list[Environment]:
    """Software and hardware of the last attempt of each ended run."""
    directories = [*found.tuning["directory"], *found.finals["directory"]]
    attempts = (found.plan.sweep.run(directory).environments()[-1:] for directory in directories)
    return [one for last in attempts for one in last]


def checklists(found: Comparison) -> pd.DataFrame:
    """Answers to reproducibility checklists, from the records.

    Items: the NeurIPS paper checklist, questions 6 to 8, and Dodge et al., "Show Your Work", EMNLP 2019,
    appendix B, on which the checklists of the ACL conferences draw.

    Returns:
        Columns `list`, `item` and `answer`.
    """
    declared, finals = found.protocol.declared, found.finals
    seconds = finals.groupby(["block", "arm"], sort=False)["seconds"].mean()
    runtimes = "; ".join(f"{arm}, {block}: {_duration(mean)}" for (block, arm), mean in seconds.items())
    parameters = "; ".join(f"{cell.arm}, {cell.block}: {cell.parameters:,}" for cell in found.protocol.cells)
    bounds = "; ".join(f"{key}: {low:g} to {high:g}" for key, (low, high) in declared.space.items())
    neurips = {
        "Data splits": _data(found),
        "Hyperparameters and how they were chosen": f"{_tuning(found)} {_training(found)}",
        "Factors of variability that error bars capture": "the seed: initial weights, order, augmentation",
        "Method and assumptions of the error bars": _tests(found),
        "Standard deviation or standard error": "95 % intervals of means; standard deviations in arms.csv",
        "Compute resources": _machine(found),
    }
    acl = {
        "Computing infrastructure": _machine(found),
        "Average runtime of each approach": runtimes,
        "Number of parameters": parameters,
        "Validation performance of each test result": "rates.csv, by arm and chosen values",
        "Evaluation metric": f"{METRICS[declared.metric]}, 1 − accuracy",
        "Bounds of each hyperparameter": bounds,
        "Configurations of the best models": "; ".join(_choices(found)),
        "Number of search trials": f"{counted(len(found.tuning), 'run')} in all",
        "Method of choosing": found.protocol.choice,
        "Summary statistics of all results": "rates.csv and arms.csv; every run in tuning.csv and finals.csv",
    }
    rows = [
        (name, item, answer)
        for name, items in (("NeurIPS", neurips), ("ACL", acl))
        for item, answer in items.items()
    ]
    return pd.DataFrame(rows, columns=["list", "item", "answer"])


def _choices(found: Comparison) -> Iterable[str]:
    for (block, arm), runs in found.finals.groupby(["block", "arm"], sort=False):
        values = ", ".join(f"{axis}={runs[axis].iloc[0]:g}" for axis in found.axes)
        yield f"{arm}, {block}: {values}"


def _one_for_each(cells: Iterable[Cell], key: Callable[[Cell], Any]) -> Iterable[Cell]:
    first: dict[Any, Cell] = {}
    for cell in cells:
        first.setdefault(key(cell), cell)
    return first.values()


def _node(node: Any) -> str:
    """A short name of a config node: its label, or its class with the arguments that are given."""
    if not isinstance(node, dict):
        return str(node)
    if "label" in node:
        return str(node["label"])
    given = {key: value for key, value in node.items() if value not in (None, [], {})}
    arguments = ", ".join(f"{key}={value}" for key, value in given.items() if key not in NOT_ARGUMENTS)
    name = node.get("name") or str(node.get("_target_")).rpartition(".")[2]
    return f"{name} ({arguments})" if arguments else str(name)


def _listed(items: Iterable[str]) -> str:
    *most, last = found = list(items) or ["not recorded"]
    between = separator(found)
    joint = " and " if between == ", " else "; and "
    return f"{between.join(most)}{joint}{last}" if most else last


def _seeds(seeds: list[int]) -> str:
    """Seeds in words, consecutive ones abbreviated: `the seeds 10–19`."""
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"the seeds {seeds[0]}–{seeds[-1]}"
    return f"the seed{'s' if len(seeds) > 1 else ''} {_listed(map(str, seeds))}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
