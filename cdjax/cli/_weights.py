"""`cdjax weights`: list, convert, check and fetch pre-trained weights."""

import argparse
from pathlib import Path
from typing import Any

from cdjax._errors import InputError


def add_parser(subparsers: Any) -> None:
    """Adds the command `weights` to the command line."""
    parser = subparsers.add_parser("weights", help="pre-trained weights of the networks")
    actions = parser.add_subparsers(dest="action", required=True)

    listing = actions.add_parser("list", help="show what is stored and where")
    listing.set_defaults(run=_list)

    convert = actions.add_parser("convert", help="convert a weight file and store it")
    convert.add_argument("source", type=Path, help=".pth, .mat, .caffemodel or .net file")
    convert.add_argument("--network", help="what it must be, such as vgg19 or colornames")
    convert.add_argument("--name", help="name in the store (default: by kind of file)")
    convert.set_defaults(run=_convert)

    check = actions.add_parser("check", help="compare stored weights with their hashes")
    check.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    check.set_defaults(run=_check)

    fetch = actions.add_parser("fetch", help="download, check and convert known weights")
    fetch.add_argument("name", nargs="?", metavar="NAME", help="default: show the names")
    fetch.set_defaults(run=_fetch)


def _list(_: argparse.Namespace) -> int:
    """Prints a line for each stored set of weights."""
    from cdjax import weights

    stored = weights.list_weights()
    print(f"{weights.weights_dir()}: {len(stored) or 'no'} weights")
    for manifest in stored:
        print(
            f"{manifest.name}: {manifest.network} to {manifest.deepest_layer}, from "
            f"{manifest.source_file}, licence {manifest.licence}"
        )
    return 0


def _convert(args: argparse.Namespace) -> int:
    """Converts one file."""
    from cdjax import weights

    folder = weights.convert(args.source, network=args.network, name=args.name)
    print(f"{args.source} -> {folder}")
    return 0


def _check(args: argparse.Namespace) -> int:
    """Loads weights, by default every folder of the store, and raises if any is damaged."""
    from cdjax import weights

    root = weights.weights_dir().resolve()
    names = args.names or sorted(path.name for path in root.glob("[!.]*") if path.is_dir())
    if not names:
        print(f"{root}: no weights")
    problems = []
    for name in names:
        folder = root / name
        try:
            weights.load_params(folder if folder.is_dir() else name)
            print(f"{name}: ok")
        except InputError as error:
            print(f"{name}: {error}")
            problems.append(error)
    if problems:
        raise InputError(
            f"{len(problems)} of {len(names)} weights failed (listed above), the first of "
            f"them: {problems[0]}"
        )
    return 0


def _fetch(args: argparse.Namespace) -> int:
    """Downloads one set of weights, or says which there are."""
    from cdjax import weights

    if args.name is None:
        for source in weights.known_sources().values():
            print(f"{source.name}: {source.note}\n  {source.url}\n  {source.licence}")
        return 0
    folder = weights.fetch(args.name)
    print(f"{args.name} -> {folder}")
    return 0
