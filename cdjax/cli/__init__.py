"""The `cdjax` command: parses arguments, and turns bad input into one line."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from cdjax._errors import InputError
from cdjax.cli import (
    _cache,
    _compare,
    _demo,
    _evaluate,
    _info,
    _interrupt,
    _plan,
    _replay,
    _report,
    _score,
    _speed,
    _track,
    _weights,
)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are InputErrors."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    """Makes the parser of all commands."""
    parser = _Parser(prog="cdjax", description="Channel-distillation trackers in JAX.")
    parser.add_argument("--version", action="version", version=f"cdjax {version('cdjax')}")
    subparsers = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=_Parser
    )
    commands = (
        _track,
        _evaluate,
        _report,
        _compare,
        _score,
        _replay,
        _demo,
        _speed,
        _plan,
        _weights,
        _info,
    )
    for command in commands:
        command.add_parser(subparsers)
    return parser


def _join_negative(argv: Sequence[str]) -> list[str]:
    """Joins --box and a value with a leading minus, as in -inf, which argparse would refuse."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] == "--box" and re.match("-[^-]", word):
            joined[-1] = f"--box={word}"
        else:
            joined.append(word)
    return joined


def command() -> int:
    """The `cdjax` command as a process: `main`, with compiled programs kept on disk."""
    if sys.argv[1:2] != ["speed"]:  # which times compilation
        _cache.enable()
    return main()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      argv: the words after `cdjax`; those of the process by default.

    Returns:
      Exit code: 0, 2 for bad input, 130 if interrupted, otherwise the command's own.
    """
    # OpenCV's warnings about files that are refused in one line of ours.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        with _interrupt.handled():
            args = _parser().parse_args(_join_negative(sys.argv[1:] if argv is None else argv))
            return args.run(args)
    except InputError as error:
        print(f"cdjax: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader has gone; a second failure while Python flushes at exit would be noise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        culprit = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or str(error)
        remedy = "check the path and its permissions"
        print(f"cdjax: error: {culprit}{reason}; {remedy}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cdjax: interrupted", file=sys.stderr)
        return 130
