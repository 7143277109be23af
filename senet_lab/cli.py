"""The command line: `senet-lab <verb>`, followed by overrides in Hydra's syntax.

Exit codes: 0 all well, 1 some runs failed or were left out, a fault was found or the output cannot be
written, 2 bad usage, 130 or 143 interrupted, 141 nobody reads the output.
"""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from senet_lab.config import SCHEMAS
from senet_lab.errors import UsageError
from senet_lab.runs.signals import raise_on_sigterm
from senet_lab.text import plain
from senet_lab.version import __version__

if TYPE_CHECKING:
    from senet_lab.composition.command import Command

Verb = Callable[["Command"], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an unencodable character must not raise
    try:
        code = _tell_errors(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _drop(sys.stdout)
        return 128 + signal.SIGPIPE
    except OSError as error:
        if not _output_fails():
            raise
        _drop(sys.stdout)
        _tell(f"standard output cannot be written: {error.strerror}")
        return 1


def _tell_errors(arguments: list[str]) -> int:
    """Run one command line; bad usage and interruption are one line on standard error."""
    try:
        with raise_on_sigterm():
            return _run(arguments)
    except UsageError as error:
        _tell(str(error))
        return 2
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        _tell(f"{plain(str(error.filename))[:80]}…: {error.strerror}")
        return 2
    except KeyboardInterrupt as interrupt:
        _tell("interrupted")
        return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)


def _output_fails() -> bool:
    """Whether standard output takes nothing more, as on a full disk."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def _tell(sentence: str) -> None:
    """Print a line on standard error; if that is impossible, the exit code alone tells."""
    try:
        print(f"senet-lab: {sentence}", file=sys.stderr)
    except OSError:
        _drop(sys.stderr)


def _drop(stream: TextIO) -> None:
    """Send what is left in a stream nowhere, so that nothing fails at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _replace_closed_streams() -> None:
    """Open the null device for closed standard streams, so that no record file gets their descriptors."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115


def _run(arguments: list[str]) -> int:
    if arguments[:1] in (["-sc"], ["--shell-completion"]):
        return _complete(arguments)
    if arguments[:1] == ["--version"]:
        print(f"senet-lab {__version__}")
        return 0
    if not arguments or arguments[0] in ("-h", "--help"):
        from senet_lab.composition.usage import usage

        print(usage())
        return 0 if arguments else 2
    verb, rest = arguments[0], arguments[1:]
    if verb not in SCHEMAS:
        near = get_close_matches(verb, SCHEMAS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        known = ", ".join(SCHEMAS)
        raise UsageError(f"unknown verb {verb!r}: {hint}one of {known}; senet-lab --help explains them")
    _require_working_directory()
    options = _parse(rest)
    if options.help or options.cfg:
        print(plain(_answer(verb, options), keep_lines=True))
        return 0
    from senet_lab.composition.command import compose_command  # imports Hydra: help is faster without

    command = compose_command(verb, options.overrides, options.multirun, options.config_dir, rest)
    run: Verb = getattr(import_module(f"senet_lab.commands.{verb}"), verb)
    try:
        return run(command)
    except UsageError as error:
        raise UsageError(command.located(str(error))) from error


def _require_working_directory() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UsageError("the working directory no longer exists: cd to another one") from error


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="senet-lab", add_help=False, exit_on_error=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-cd", "--config-dir", type=Path)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-c", "--cfg", choices=("job", "hydra", "all"))
    parser.add_argument("-p", "--package")
    parser.add_argument("--resolve", action="store_true")
    try:
        options, unknown = parser.parse_known_intermixed_args(arguments)
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from error
    if unknown:
        raise UsageError(
            f"unknown option {unknown[0]}: a verb takes key=value, -m, --config-dir, --help and --cfg"
        )
    if options.multirun and options.cfg:
        raise UsageError("--cfg shows the config of one run: leave out -m, and give each key one value")
    return options


def _answer(verb: str, options: argparse.Namespace) -> str:
    """The text of `--help`, or of `--cfg`."""
    from omegaconf import OmegaConf, open_dict

    from senet_lab.composition.command import compose_node
    from senet_lab.composition.usage import verb_usage

    everything = options.help and "all" in options.overrides
    overrides = [word for word in options.overrides if not (everything and word == "all")]
    node, folders = compose_node(verb, overrides, options.config_dir)
    if options.help:
        return verb_usage(verb, node, folders, everything)
    if options.cfg == "job":
        with open_dict(node):
            del node["hydra"]
    shown = node.hydra if options.cfg == "hydra" else node
    if options.package:
        shown = OmegaConf.select(shown, options.package)
        if not OmegaConf.is_config(shown):
            raise UsageError(f"--package {options.package}: the config has no such node")
    return OmegaConf.to_yaml(shown, resolve=options.resolve).rstrip()


def _complete(arguments: Sequence[str]) -> int:
    """Shell completion: verbs by this package, overrides by Hydra."""
    words = os.environ.get("COMP_LINE", "").split(" ")
    if len(words) == 2:
        print(" ".join(verb for verb in SCHEMAS if verb.startswith(words[1])))
        return 0
    verb = words[1] if words[1:2] and words[1] in SCHEMAS else "train"
    os.environ["COMP_LINE"] = " ".join([words[0], *words[2:]])
    import hydra

    from senet_lab.composition.command import config_folder, register_resolvers, register_schema

    register_schema(verb)
    register_resolvers()
    sys.argv = [f"senet-lab {verb}", *arguments]
    hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=verb)(lambda _: None)()
    return 0


if __name__ == "__main__":
    sys.exit(main())
