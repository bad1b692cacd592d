"""Parses the command line and hands over to one subcommand, whose module is imported only then."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

from cli import exits, mesh_commands
from mesh.local import names


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code: 0 done, 1 failed, 2 wrong usage, 3 the platform is not running."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] == ["bench"]:
        # The benchmarks have a command line of their own, which argparse would not hand over untouched.
        options = argparse.Namespace(run="cli.models:bench", arguments=arguments[1:])
    elif arguments[:1] == ["drill"]:
        options = argparse.Namespace(run="cli.drill:run", arguments=arguments[1:])
    else:
        options = parser().parse_args(arguments)
    module, _, function = options.run.partition(":")
    try:
        return int(getattr(importlib.import_module(module), function)(options))
    except exits.CommandError as error:
        print(f"causeway: {error}", file=sys.stderr)
        return error.code
    except PermissionError as error:
        print(f"causeway: {error.filename or 'the state folder'}: {error.strerror}", file=sys.stderr)
        return exits.FAILURE
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        # The reader (such as `head`) has seen enough; the interpreter must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK


def parser() -> argparse.ArgumentParser:
    """The whole command line. Each subcommand names the function that runs it as "module:function"."""
    root = argparse.ArgumentParser(
        prog="causeway",
        description="Runs a Causeway platform on this machine, and talks to it.",
        epilog="CAUSEWAY_HOME names the folder that holds everything a platform keeps (default: .causeway "
        "beside the source).",
    )
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    _lifecycle(commands)
    _documents(commands)
    mesh_commands.add(commands)
    _development(commands)
    return root


_Commands = argparse._SubParsersAction


def _lifecycle(commands: _Commands[argparse.ArgumentParser]) -> None:
    up = _command(commands, "up", "cli.lifecycle:up", "start the platform and wait until it is ready")
    up.add_argument("--foreground", action="store_true", help="stay, and stop the platform on Ctrl-C")
    up.add_argument("--only", metavar="NAME,…", type=_names, help="start only these processes")
    up.add_argument(
        "--regions",
        metavar="NAME,…",
        type=_names,
        help=f"regions to stand in (default {','.join(names.DEFAULT_REGIONS)})",
    )
    up.add_argument(
        "--data-plane",
        choices=[str(item) for item in names.DataPlane],
        help="what carries calls between services: an Envoy beside each (sidecar, the default), clients that "
        "are their own proxies (proxyless), or nothing, in one place without a mesh (none)",
    )
    up.add_argument(
        "--timeout", metavar="SECONDS", type=_positive, default=180.0, help="give up after (default 180)"
    )
    _json(up)
    down = _command(commands, "down", "cli.lifecycle:down", "stop the platform; its data stays")
    down.add_argument("--purge", action="store_true", help="delete its data as well")
    _json(_command(commands, "status", "cli.lifecycle:status", "say how every process is doing"))
    logs = _command(commands, "logs", "cli.lifecycle:logs", "show what processes have logged")
    logs.add_argument("name", nargs="?", metavar="NAME", help="one process (default: all)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as more is logged")
    logs.add_argument(
        "-n", "--lines", metavar="COUNT", type=_count, default=20, help="lines of each (default 20)"
    )
    _json(
        _command(
            commands, "doctor", "cli.lifecycle:doctor", "check what this machine needs to run a platform"
        )
    )


def _documents(commands: _Commands[argparse.ArgumentParser]) -> None:
    ingest = _command(commands, "ingest", "cli.ingest:run", "add documents, and wait until they can be found")
    ingest.add_argument(
        "paths", nargs="+", metavar="PATH", help="a file, a folder, or pydoc: (Python's language reference)"
    )
    ingest.add_argument(
        "--label", metavar="KEY=VALUE", action="append", type=_label, default=[], help="a label to filter by"
    )
    _json(ingest)
    search = _command(commands, "search", "cli.ask:search", "find passages")
    search.add_argument("query")
    search.add_argument("-k", "--limit", metavar="COUNT", type=_limit, default=5, help="passages (default 5)")
    search.add_argument(
        "--mode",
        choices=("hybrid", "dense", "lexical"),
        default="hybrid",
        help="how to match (default hybrid)",
    )
    _json(search)
    ask = _command(commands, "ask", "cli.ask:ask", "ask a question; the answer cites its passages")
    ask.add_argument("question")
    _json(ask)
    chat = _command(commands, "chat", "cli.chat:run", "ask question after question in one conversation")
    _command(commands, "demo", "cli.demo:run", "start, ingest a corpus, ask a question")
    token = _command(commands, "token", "cli.lifecycle:token", "print a token of the development issuer")
    token.add_argument(
        "--role",
        action="append",
        choices=("reader", "editor", "admin"),
        help="may be repeated (default reader)",
    )
    token.add_argument("--ttl", metavar="DURATION", default="1h", help="how long it is valid (default 1h)")
    for command in (ingest, search, ask, chat, token):
        command.add_argument("--tenant", default="demo", help="whose documents (default demo)")
        command.add_argument("--subject", default="local", help="who asks (default local)")


def _development(commands: _Commands[argparse.ArgumentParser]) -> None:
    models = commands.add_parser("models", help="model files", description="Model files.")
    inner = models.add_subparsers(metavar="COMMAND", required=True)
    _command(inner, "build", "cli.models:build", "build and verify the model repository")
    # Listed here for the help text; `main` handles it.
    commands.add_parser("bench", help="measure the platform; `bench --help` lists what", add_help=False)
    commands.add_parser("drill", help="harm a platform under load; `drill --help` lists how", add_help=False)


def _command(
    commands: _Commands[argparse.ArgumentParser], name: str, run: str, summary: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    command.set_defaults(run=run)
    return command


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _names(text: str) -> list[str]:
    found = [name for name in text.split(",") if name]
    if not found:
        raise argparse.ArgumentTypeError("name at least one")
    return found


def _positive(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) < 1e6:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")


def _whole(text: str, low: int, high: int) -> int:
    with contextlib.suppress(ValueError):
        if low <= (value := int(text)) <= high:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")


def _count(text: str) -> int:
    return _whole(text, 0, 1_000_000)


def _limit(text: str) -> int:
    return _whole(text, 1, 100)


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
