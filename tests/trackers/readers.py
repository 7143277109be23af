"""What a tracker holds, by its own reader or from its file; nothing of senet_lab.trackers is asked."""

import ast
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass
class Tracked:
    """One run as a tracker has it."""

    config: dict[str, Any]
    """By dotted key."""
    rows: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """Each step as often as the tracker has it, in its order."""
    pictures: list[bytes] = field(default_factory=list)
    state: str | None = None


def read(library: str, folder: Path) -> list[tuple[str, Tracked]]:
    """All runs in the local store of a sweep, in order of their names."""
    return sorted(READERS[library](folder / "tracking" / library), key=lambda pair: pair[0])


def _tensorboard(folder: Path) -> Iterator[tuple[str, Tracked]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from tensorboard.util.tensor_util import make_ndarray

    for file in folder.rglob("events.out.tfevents.*"):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0}).Reload()
        content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        values = HParamsPluginData.FromString(content).session_start_info.hparams
        config = {key: getattr(value, value.WhichOneof("kind")) for key, value in values.items()}
        rows: dict[int, dict[str, float]] = {}
        repeated = []
        for tag in events.Tags()["scalars"]:
            for event in events.Scalars(tag):
                row = rows.setdefault(event.step, {})
                if tag in row:
                    repeated.append((event.step, {tag: event.value}))
                row[tag] = event.value
        tracked = Tracked(config, sorted([*rows.items(), *repeated], key=lambda row: row[0]))
        if "error" in events.Tags()["images"]:
            tracked.pictures = [image.encoded_image_string for image in events.Images("error")]
        if "state/text_summary" in events.Tags()["tensors"]:
            (text,) = events.Tensors("state/text_summary")
            tracked.state = make_ndarray(text.tensor_proto).item().decode()
        yield file.parent.relative_to(folder).as_posix(), tracked


def _mlflow(folder: Path) -> Iterator[tuple[str, Tracked]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.resolve()}/mlflow.db")
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            tracked = Tracked({key: _value(text) for key, text in run.data.params.items()})
            keys = sorted(run.data.metrics)
            histories = [client.get_metric_history(run.info.run_id, key) for key in keys]
            for metrics in zip(*histories, strict=True):
                (step,) = {metric.step for metric in metrics}
                tracked.rows.append((step, {metric.key: metric.value for metric in metrics}))
            for artifact in client.list_artifacts(run.info.run_id, "figures"):
                file = client.download_artifacts(run.info.run_id, artifact.path)
                tracked.pictures.append(Path(file).read_bytes())
            tracked.state = run.data.tags.get("senet_lab.state")
            yield run.info.run_name, tracked


def _wandb(folder: Path) -> Iterator[tuple[str, Tracked]]:
    for file in folder.glob("offline-run-*/*.wandb"):
        name, tracked = "", Tracked({})
        for record in _records(file):
            if record.WhichOneof("record_type") == "run" and not name:
                name = record.run.display_name
                config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
                tracked.config = dict(_leaves(config))
            for item in record.summary.update:
                if item.key == "error":
                    picture = file.parent / "files" / json.loads(item.value_json)["path"]
                    tracked.pictures.append(picture.read_bytes())
                elif item.key == "state":
                    tracked.state = json.loads(item.value_json)
            if record.WhichOneof("record_type") == "history":
                row = {".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
                kept = {key: value for key, value in row.items() if not key.startswith("_")}
                tracked.rows.append((row["_step"], kept))
        yield name, tracked


def _records(file: Path) -> Iterator[Any]:
    """The records of a `.wandb` file: LevelDB's log format behind seven bytes of its own."""
    record = import_module("wandb.proto.wandb_internal_pb2").Record
    block, header, whole, last = 32768, 7, 1, 4
    data, at, parts = file.read_bytes(), header, b""
    while at + header <= len(data):
        left = block - at % block
        if left < header:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + header : at + header + length]
        at += header + length
        if kind in (whole, last):
            yield record.FromString(parts)
            parts = b""


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, node


def _value(text: str) -> Any:
    """MLflow has text alone."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


READERS = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
