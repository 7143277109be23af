"""Conversion of earlier versions' records to the current format; no other module knows the old ones.

`plan.json` and `environment.json` carry a format number; formats of the others follow from their content. New
fields need no conversion: they have a default (`Status`, `RunConfig`) or read as missing (`Metrics`).
"""

from collections.abc import Mapping
from typing import Any

from senet_lab.config import RunConfig, run_config
from senet_lab.records.rows import Coefficient, Row, columns

PLAN_FORMAT = 2
ENVIRONMENT_FORMAT = 2


def current_plan(content: Any) -> Any:
    """The content of `plan.json`; in format 1 a run's `plain` was called `config`."""
    if isinstance(content, dict) and content.get("format") == 1 and isinstance(content.get("runs"), list):
        runs = [_renamed(run, "config", "plain") for run in content["runs"]]
        return {**content, "format": PLAN_FORMAT, "runs": runs}
    return content


def _renamed(fields: Any, old: str, new: str) -> Any:
    if not isinstance(fields, dict):
        return fields
    return {(new if key == old else key): value for key, value in fields.items()}


def recorded_config(plain: Mapping[str, Any], source: object) -> RunConfig:
    """The typed config of a record; `trainer.compile: auto`, once the default, meant false.

    Args:
        plain: as it was written, in a plan or a run's record.
        source: its origin, for the message.

    Raises:
        UsageError: see `run_config`.
    """
    trainer = plain.get("trainer")
    if isinstance(trainer, Mapping) and trainer.get("compile") == "auto":
        plain = {**plain, "trainer": {**trainer, "compile": False}}
    return run_config(plain, source)


def current_environment(content: Any) -> Any:
    """The content of `environment.json`; format 1 had no number and held only the last attempt."""
    if isinstance(content, dict) and "format" not in content:
        return {"format": ENVIRONMENT_FORMAT, "attempts": [content]}
    return content


def current_status(content: Any) -> Any:
    """The content of `status.json`, which once had the SHA-256 of `metrics.csv` alone."""
    if isinstance(content, dict) and content.get("metrics_sha256") and "digests" not in content:
        return {**content, "digests": {"metrics.csv": {"sha256": content["metrics_sha256"]}}}
    return content


def current_table(
    kind: type[Row], header: list[str], rows: list[list[str]]
) -> tuple[list[str], list[list[str]]]:
    """A table's header and rows; `activations.csv` once had columns `alpha` and `beta`, one row per site."""
    if kind is not Coefficient or header != ["epoch", "site", "alpha", "beta"]:
        return header, rows
    names = header[2:]
    long = [[*row[:2], *pair] for row in rows for pair in zip(names, row[2:], strict=True)]
    return list(columns(Coefficient)), long
