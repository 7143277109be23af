"""MLflow: one experiment per sweep, in SQLite in `outputs/<name>/tracking` or at `MLFLOW_TRACKING_URI`."""

import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from senet_lab.extras import require_extra
from senet_lab.records.run import State
from senet_lab.trackers.tracker import TrackedRun

TAG = "senet_lab.run"
"""Tag with the run's id, by which it is found again."""
STATUS = {State.FINISHED: "FINISHED", State.INTERRUPTED: "KILLED"}
"""MLflow's names of states; all others are FAILED. The tag `senet_lab.state` holds our name."""


class MLflow:
    """See `Tracker`."""

    def __init__(self, folder: Path) -> None:
        for package in ("mlflow", "sqlalchemy", "alembic"):
            require_extra(package, "mlflow", "tracker=mlflow")
        self.folder = folder.resolve()
        self.client: Any = None

    def open(self, run: TrackedRun) -> "_Run":
        """See `Tracker`."""
        if self.client is None:
            self.client = self._connect()
        experiment = self._experiment(run.sweep)
        found = self.client.search_runs([experiment], f"tags.`{TAG}` = '{run.id}'")
        if found:
            run_id = found[0].info.run_id
            self.client.update_run(run_id, "RUNNING")
        else:
            run_id = self.client.create_run(experiment, tags={TAG: run.id}, run_name=run.name).info.run_id
            for key, value in run.flat_config().items():
                self.client.log_param(run_id, key, value)
        return _Run(self.client, run_id)

    def _connect(self) -> Any:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it would log each table that it creates
        self.folder.mkdir(parents=True, exist_ok=True)
        self.is_local = "MLFLOW_TRACKING_URI" not in os.environ
        local = f"sqlite:///{self.folder / 'mlflow.db'}"
        return MlflowClient(local if self.is_local else os.environ["MLFLOW_TRACKING_URI"])

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        artifacts = (self.folder / "artifacts").as_uri() if self.is_local else None
        return self.client.create_experiment(name, artifacts)


class _Run:
    """See `Curve`."""

    def __init__(self, client: Any, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        held = client.get_metric_history(run_id, "test_top1")
        self.epochs = max((metric.step + 1 for metric in held), default=0)

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """See `Curve`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.run_id, [Metric(key, value, now, epoch) for key, value in values.items()])

    def end(self, state: State, pictures: Mapping[str, bytes]) -> None:
        """See `Curve`."""
        with tempfile.TemporaryDirectory() as folder:
            for name, png in pictures.items():
                file = Path(folder, f"{name}.png")
                file.write_bytes(png)
                self.client.log_artifact(self.run_id, str(file), "figures")
        self.client.set_tag(self.run_id, "senet_lab.state", str(state))
        self.client.set_terminated(self.run_id, STATUS.get(state, "FAILED"))
