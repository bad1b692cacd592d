"""The command line of `causeway mesh …`. Light: what runs a command is imported only then."""

from __future__ import annotations

import argparse
import re

_Commands = argparse._SubParsersAction


def add(commands: _Commands[argparse.ArgumentParser]) -> None:
    """The group and its commands."""
    mesh = commands.add_parser("mesh", help="ask about the mesh", description="Questions about the mesh.")
    inner = mesh.add_subparsers(metavar="COMMAND", required=True)
    _explain(
        _command(inner, "explain", "cli.mesh_explain:run", "show the way of a request, and what decides it")
    )
    _graph(
        _command(inner, "graph", "cli.mesh_graph:run", "show who may call whom, and how traffic goes there")
    )
    _config(_command(inner, "config", "cli.mesh_config:run", "print the xDS that a proxy is given"))
    status = _command(
        inner, "status", "cli.mesh_status:run", "say whether every proxy has the configuration it should have"
    )
    status.add_argument("--json", action="store_true", help="print one JSON object")
    _lint(
        _command(
            inner, "lint", "cli.mesh_lint:run", "find traps in manifests, each with the reason and the fix"
        )
    )


def _command(
    commands: _Commands[argparse.ArgumentParser], name: str, run: str, summary: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    command.set_defaults(run=run)
    return command


def _explain(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--from",
        dest="client",
        metavar="APP",
        required=True,
        help="who calls: an application, a proxy, or `outside` for somebody without a proxy",
    )
    command.add_argument(
        "--to", dest="server", metavar="SERVICE", required=True, help="who is called; from outside, a proxy"
    )
    command.add_argument("--region", default="", help="where the caller runs")
    command.add_argument(
        "--method",
        metavar="PATH",
        default="",
        help="the gRPC method, /package.Service/Method, or a path; default: a health check",
    )
    command.add_argument(
        "--http", metavar="VERB", default="", help="a plain HTTP request with this method instead of gRPC"
    )
    command.add_argument(
        "--header", metavar="NAME=VALUE", action="append", type=_pair, default=[], help="may be repeated"
    )
    command.add_argument(
        "--authority", metavar="HOST", default="", help="the host asked for (default: SERVICE's)"
    )
    command.add_argument("--port", type=int, help="the service's port (default: its first)")
    command.add_argument(
        "--token", metavar="ISSUER[/SUBJECT]", type=_token, help="carry a genuine token of this issuer"
    )
    command.add_argument("--audience", action="append", default=[], help="of the token; may be repeated")
    command.add_argument(
        "--claim",
        metavar="NAME=VALUE",
        action="append",
        type=_pair,
        default=[],
        help="of the token; may be repeated",
    )
    command.add_argument("--plaintext", action="store_true", help="from outside: connect without TLS")
    command.add_argument(
        "--down",
        metavar="REGION[/APP]",
        action="append",
        default=[],
        help="does not answer: a region, an application there (*/APP: everywhere), or an address",
    )
    command.add_argument(
        "--unnoticed",
        action="store_true",
        help="proxies have not yet noticed what is down: the very first call",
    )
    command.add_argument(
        "--random",
        metavar="NUMBER",
        type=_share,
        help="from 0 up to 1: draws weights and shares (default: likeliest)",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument(
        "paths", nargs="*", metavar="PATH", help="manifests (default: those of the running platform)"
    )


def _graph(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--format", choices=("text", "dot", "json"), default="text", help="dot is for Graphviz (default text)"
    )
    command.add_argument(
        "paths", nargs="*", metavar="PATH", help="manifests (default: those of the running platform)"
    )


def _config(command: argparse.ArgumentParser) -> None:
    command.add_argument("proxy", metavar="PROXY", help="an application, or a workload as NAMESPACE/NAME")
    command.add_argument("--region", default="", help="where it runs")
    command.add_argument(
        "--type", choices=("CDS", "EDS", "LDS", "RDS", "ECDS"), default="", help="only this type"
    )
    command.add_argument(
        "--name", metavar="REGEX", type=_regex, default="", help="only resources whose name matches"
    )
    command.add_argument(
        "--manifests",
        dest="paths",
        nargs="+",
        metavar="PATH",
        default=[],
        help="read these (default: those of the running platform)",
    )


def _lint(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--explain", action="store_true", help="say of each finding why it matters, and the fix"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument("paths", nargs="+", metavar="PATH", help="a file, or a folder of manifests")


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression: {error}") from error
    return text


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _token(text: str) -> tuple[str, str]:
    """Issuer and subject; the issuer may be a URL of a host."""
    scheme, parted, rest = text.rpartition("://")
    issuer, _, subject = rest.partition("/")
    if not issuer:
        raise argparse.ArgumentTypeError(f"{text!r} is not ISSUER or ISSUER/SUBJECT")
    return f"{scheme}{parted}{issuer}", subject


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up to 1")
    return value
