"""The command line: `senet-lab <verb>`, and after the verb plain Hydra syntax.

Exit codes: 0 all well, 1 some runs failed, 2 bad usage, 130 or 143 interrupted.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

from senet_lab.compose import Command, compose_command, config_folder, register_resolvers
from senet_lab.config import SCHEMAS, register_schemas
from senet_lab.errors import UsageError
from senet_lab.runs.signals import raise_on_sigterm
from senet_lab.text import plain
from senet_lab.version import __version__

HYDRA_FLAGS = (
    "-h", "--help", "--hydra-help", "-c", "--cfg", "-p", "--package", "--resolve",
    "-i", "--info", "-sc", "--shell-completion",
)  # fmt: skip
"""Flags that Hydra answers itself, without a run."""

Verb = Callable[[Command, Sequence[str]], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal cannot show is no reason to fail
    try:
        with raise_on_sigterm():
            return _run(arguments)
    except UsageError as error:
        print(f"senet-lab: {plain(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing is wrong, and nobody listens.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as interrupt:
        print("senet-lab: interrupted", file=sys.stderr)
        return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)


def _run(arguments: list[str]) -> int:
    if arguments[:1] in (["-sc"], ["--shell-completion"]):
        return _complete(arguments)
    if arguments[:1] == ["--version"]:
        print(f"senet-lab {__version__}")
        return 0
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    verb, rest = arguments[0], arguments[1:]
    if verb not in SCHEMAS:
        raise UsageError(
            f"unknown verb {verb!r}: one of {', '.join(SCHEMAS)}; senet-lab --help explains them"
        )
    if any(flag.split("=")[0] in HYDRA_FLAGS for flag in rest):
        return _ask_hydra(verb, rest)
    options = _parse(rest)
    command = compose_command(verb, options.overrides, options.multirun, options.config_dir)
    run: Verb = getattr(import_module(f"senet_lab.commands.{verb}"), verb)
    return run(command, rest)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="senet-lab", add_help=False, exit_on_error=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-cd", "--config-dir", type=Path)
    try:
        options, unknown = parser.parse_known_intermixed_args(arguments)
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from error
    if unknown:
        raise UsageError(f"unknown option {unknown[0]}: after the verb come key=value, -m and --config-dir")
    return options


def _ask_hydra(verb: str, arguments: Sequence[str]) -> int:
    """Help, `--cfg job`, `--info`: Hydra's own answers over this verb's config."""
    import hydra

    register_schemas()
    register_resolvers()
    sys.argv = [f"senet-lab {verb}", *arguments]
    hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=verb)(lambda _: None)()
    return 0


def _complete(arguments: Sequence[str]) -> int:
    """Shell completion: the verb is ours, what follows it is Hydra's."""
    words = os.environ.get("COMP_LINE", "").split(" ")
    if len(words) == 2:
        print(" ".join(verb for verb in SCHEMAS if verb.startswith(words[1])))
        return 0
    verb = words[1] if len(words) > 2 else "train"
    os.environ["COMP_LINE"] = " ".join([words[0], *words[2:]])
    return _ask_hydra(verb if verb in SCHEMAS else "train", arguments)


def _usage() -> str:
    lines = ["usage: senet-lab VERB [key=value ...] [-m] [--config-dir DIR]", ""]
    for verb in SCHEMAS:
        text = import_module(f"senet_lab.commands.{verb}").__doc__ or ""
        lines.append(f"  {verb:8} {text.splitlines()[0].partition(': ')[2]}")
    lines += ["", "senet-lab VERB --help lists what a verb takes; senet-lab -sc install=bash completes it."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
