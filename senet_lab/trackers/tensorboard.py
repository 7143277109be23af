"""TensorBoard: one event file per run, in `outputs/<name>/tracking/tensorboard`."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from senet_lab.extras import require_extra
from senet_lab.records.rows import Metrics, columns
from senet_lab.records.run import State
from senet_lab.trackers.tracker import TrackedRun


class TensorBoard:
    """See `Tracker`."""

    def __init__(self, folder: Path) -> None:
        require_extra("tensorboard", "tensorboard", "tracker=tensorboard")
        self.folder = folder

    def open(self, run: TrackedRun) -> "_Events":
        """See `Tracker`. The file is always rewritten, from the complete record."""
        for file in run.folder.glob("events.out.tfevents.*"):
            file.unlink()
        return _Events(run)


class _Events:
    """See `Curve`."""

    epochs = 0

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self.writer = SummaryWriter(run.folder)
        events = cast(Any, self.writer.file_writer)  # missing in its type hints
        self.last = 0
        # Not `add_hparams`, which creates a separate run.
        for summary in hparams(run.flat_config(), dict.fromkeys(columns(Metrics)[1:])):
            events.add_summary(summary)
        self.writer.flush()

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """See `Curve`."""
        for key, value in values.items():
            self.writer.add_scalar(key, value, epoch)
        self.writer.flush()
        self.last = epoch

    def end(self, state: State, pictures: Mapping[str, bytes]) -> None:
        """See `Curve`."""
        import numpy as np
        from PIL import Image

        for name, png in pictures.items():
            pixels = np.asarray(Image.open(BytesIO(png)).convert("RGB"))
            self.writer.add_image(name, pixels, self.last, dataformats="HWC")
        self.writer.add_text("state", str(state), self.last)
        self.writer.close()
