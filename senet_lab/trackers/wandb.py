"""Weights & Biases: offline below `outputs/<name>/tracking/wandb` unless `WANDB_MODE` says otherwise."""

import os
import shutil
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from senet_lab.extras import require_extra
from senet_lab.records.run import State
from senet_lab.trackers.tracker import TrackedRun


class WandB:
    """See `Tracker`."""

    def __init__(self, folder: Path) -> None:
        require_extra("wandb", "wandb", "tracker=wandb")
        self.folder = folder

    def open(self, run: TrackedRun) -> "_Run":
        """See `Tracker`. Offline, wandb cannot resume a curve, so it is rewritten from the record."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        for older in self.folder.glob(f"offline-run-*-{run.id}"):
            shutil.rmtree(older)
        return _Run(
            wandb.init(
                project=os.environ.get("WANDB_PROJECT", "senet-lab"),
                group=run.sweep,
                id=run.id,
                name=run.name,
                config=run.config,
                resume="allow",
                mode=mode,
                dir=self.folder.parent,  # wandb adds its own name
                reinit="create_new",  # several runs at a time
                # This process only launches runs: do not record its output and load.
                settings=wandb.Settings(
                    console="off", silent=True, disable_git=True, save_code=False,
                    x_disable_stats=True, x_disable_meta=True,
                ),
            )
        )  # fmt: skip


class _Run:
    """See `Curve`."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self.epochs: int = run.step

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """See `Curve`."""
        self.run.log(dict(values), step=epoch, commit=True)

    def end(self, state: State, pictures: Mapping[str, bytes]) -> None:
        """See `Curve`."""
        import wandb
        from PIL import Image

        for name, png in pictures.items():
            self.run.summary[name] = wandb.Image(Image.open(BytesIO(png)))
        self.run.summary["state"] = str(state)
        self.run.finish(exit_code=0 if state is State.FINISHED else 1)
