"""The text of `senet-lab --help` and `senet-lab VERB --help`."""

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from senet_lab.composition.groups import is_group, option_file, options
from senet_lab.config import PLANNING_VERBS, SCHEMAS, SELECTING_VERBS, RunConfig, TrainConfig
from senet_lab.documentation import allowed, comments, field_lines, verb_line

if TYPE_CHECKING:
    from omegaconf import DictConfig

GROUP_LINES = {
    "experiment": "A prepared sweep.",
    "figure": "One of the six published plots: network and learning rate.",
    "hydra/launcher": "Launcher of the runs.",
}
"""Config groups without a field in a schema."""

SELECTION = """\
Values of the runs select among them, as in figure=senet18_lr0.001 or
activation=relu,mish lr=0.001 seed=0,1; a value that no run has is refused."""

KEY_WIDTH = 26
"""Width, in characters, of a key with its value."""

Row = tuple[str, str]
"""A key with its value, and its description."""


def usage() -> str:
    """The list of verbs."""
    lines = ["usage: senet-lab VERB [key=value ...] [-m] [--config-dir DIR]", ""]
    lines += [f"  {verb:9} {verb_line(verb)}" for verb in SCHEMAS]
    lines += [
        "",
        "senet-lab VERB --help        keys of a verb, their values and what they mean",
        "senet-lab VERB --help all    all keys, those of the training config too",
        "senet-lab VERB --cfg job     the config that a command line composes",
        "senet-lab -sc install=bash   completion for a shell",
    ]
    return "\n".join(lines)


def verb_usage(verb: str, node: "DictConfig", folders: Sequence[Path], everything: bool) -> str:
    """The keys of a verb, its own first.

    Args:
        verb: one of `SCHEMAS`.
        node: its composed config, with Hydra's own.
        folders: folders of config groups.
        everything: whether to include the keys of the training config and of its nodes.
    """
    from omegaconf import OmegaConf

    keys = [str(key) for key in node if key != "hydra"]
    config: Any = OmegaConf.to_container(OmegaConf.masked_copy(node, keys))
    config["hydra"] = {"launcher": OmegaConf.to_container(node.hydra.launcher)}
    return _Page(verb, config, node.hydra.runtime.choices, folders).text(everything)


@dataclass(frozen=True)
class _Page:
    verb: str
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    """The option of each config group."""
    folders: Sequence[Path]

    def text(self, everything: bool) -> str:
        schema, verb = SCHEMAS[self.verb], self.verb
        trains = issubclass(schema, TrainConfig)
        base = RunConfig if verb == "train" else TrainConfig if trains else object
        parts = [
            f"usage: senet-lab {verb} [key=value ...] [-m] [--config-dir DIR]",
            verb_line(verb),
        ]
        own = self._rows(schema, base)
        if own:
            parts.append(_section(f"Keys of {verb}", own))
        if verb == "train":
            parts.append(
                _section("Launcher", [self._group("hydra/launcher"), *self._leaves("hydra.launcher")])
            )
        if verb in PLANNING_VERBS:
            groups = [self._group("experiment"), self._group("figure")]
            parts.append(_section("The run", [*groups, *self._rows(RunConfig, object)]))
        elif trains:
            sweep = [_row(TrainConfig, name, name, self.config[name]) for name in ("name", "outputs")]
            parts.append(_section("The sweep", [*sweep, self._group("experiment")]))
        if verb in SELECTING_VERBS:
            parts.append(SELECTION)
        if everything:
            nested = [name for name, value in self.config.items() if _is_nested(value) and name != "hydra"]
            parts += [_section(name, self._leaves(name)) for name in nested]
        elif trains:
            parts.append(f"senet-lab {verb} --help all lists the keys of the training config, too.")
        return "\n\n".join(parts)

    def _rows(self, schema: type, base: type) -> list[Row]:
        """The keys that `schema` adds to `base`, except nested ones."""
        known = {field.name for field in fields(base)} if is_dataclass(base) else set()
        rows = []
        for name in (field.name for field in fields(schema) if field.name not in known):
            if is_group(name, self.folders):
                rows.append(self._group(name, field_lines(schema)[name]))
            elif not _is_nested(self.config[name]):
                rows.append(_row(schema, name, name, self.config[name]))
        return rows

    def _group(self, group: str, line: str = "") -> Row:
        """A config group with all its options."""
        known = ", ".join(options(group, *self.folders[1:]))
        return f"{group}={_value(self.choices.get(group))}", f"{line or GROUP_LINES[group]} {known}"

    def _leaves(self, path: str) -> list[Row]:
        """The keys below `path`, described by the fields of a schema or the comments of an option's YAML."""
        node: Any = self.config
        for name in path.split("."):
            node = node[name]
        group = path.replace(".", "/")
        file = option_file(group, self.choices.get(group) or "", self.folders)
        lines = {} if file is None else comments(file)
        kind = _schema_of(SCHEMAS[self.verb], path)
        return [
            _row(kind, name, f"{path}.{name}", value, lines.get(name, ""))
            for name, value in node.items()
            if name != "_target_"
        ]


def _schema_of(schema: type, name: str) -> type:
    """The dataclass of a field; `object` for other fields."""
    kind = get_type_hints(schema).get(name)
    kinds: list[Any] = [part for part in (kind, *get_args(kind)) if is_dataclass(part)]
    return kinds[0] if kinds else object


def _row(schema: type, name: str, key: str, value: Any, line: str = "") -> Row:
    kind = get_type_hints(schema).get(name)
    values = allowed(kind) if kind else ""
    about = field_lines(schema).get(name, line)
    return f"{key}={_value(value)}", " ".join(filter(None, [f"{values}." if values else "", about]))


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value)


def _value(value: Any) -> str:
    """A value in command-line syntax."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, list):
        return f"[{','.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        items = ",".join(f"{key}:{_value(one)}" for key, one in value.items())
        return f"{{{items}}}"
    return str(value)


def _section(title: str, rows: Sequence[Row]) -> str:
    """Rows in two columns as wide as the terminal."""
    width = max(shutil.get_terminal_size().columns, 60)
    lines = [f"{title}:"]
    for key, about in rows:
        wrapped = textwrap.wrap(about, width - KEY_WIDTH - 4, break_on_hyphens=False) or [""]
        first = f"  {key:{KEY_WIDTH}}  {wrapped[0]}" if len(key) <= KEY_WIDTH else f"  {key}"
        rest = wrapped[1:] if len(key) <= KEY_WIDTH else wrapped
        lines += [first.rstrip(), *(" " * (KEY_WIDTH + 4) + line for line in rest if line)]
    return "\n".join(lines)
