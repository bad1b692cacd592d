"""Recorded translations: `<case>.in.yaml` holds manifests, `<case>.ir.yaml` what its proxies are to do, as
`mesh.resolve` makes it of them, and `<case>.out.yaml` what they are sent, as `mesh.translate` makes it of
that.

The first line of a case names the proxies, `# proxies: namespace/name …`.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.json_format import MessageToDict
from support.plain_ir import plain

from mesh.ir.view import ProxyView
from mesh.manifests import Text, read
from mesh.resolve import index, proxies, resolve
from mesh.translate import translate
from mesh.xds.resources import SHORT, Resources

FOLDER = Path(__file__).parent
IN, IR, OUT = ".in.yaml", ".ir.yaml", ".out.yaml"

UPDATE = "CAUSEWAY_UPDATE_GOLDEN"
"""Environment variable: with it, the records are written anew, and those without a case are deleted."""

_PROXIES = "# proxies: "


class _Dumper(yaml.SafeDumper):
    """Without aliases, and with lists indented."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def cases() -> list[str]:
    """Names of all cases."""
    return sorted(path.name.removesuffix(IN) for path in FOLDER.glob(f"*{IN}"))


def orphans() -> list[Path]:
    """Records whose case is gone."""
    return [
        path
        for end in (IR, OUT)
        for path in FOLDER.glob(f"*{end}")
        if path.name.removesuffix(end) not in cases()
    ]


def views(case: str) -> dict[str, ProxyView]:
    """What the proxies of a case are to do."""
    text = (FOLDER / f"{case}{IN}").read_text("utf-8")
    first = text.partition("\n")[0]
    assert first.startswith(_PROXIES), f"{case}: the first line names the proxies"
    manifests = read([Text(f"{case}{IN}", text)])
    found = index(manifests)
    known = {f"{proxy.namespace}/{proxy.name}": proxy for proxy in proxies(manifests)}
    return {name: resolve(found, known[name]) for name in first.removeprefix(_PROXIES).split()}


def translations(case: str) -> dict[str, Resources]:
    """What the proxies of a case are sent."""
    return {name: translate(view) for name, view in views(case).items()}


_Dumper.add_representer(OrderedDict, lambda dumper, data: dumper.represent_dict(dict(data)))


def records(case: str) -> dict[str, str]:
    """The texts of a case's records, by what their names end with."""
    sent = {name: _messages(resources) for name, resources in translations(case).items()}
    return {IR: _yaml(plain(views(case)), sort_keys=False), OUT: _yaml(sent, sort_keys=True)}


def _yaml(content: object, *, sort_keys: bool) -> str:
    return yaml.dump(content, Dumper=_Dumper, width=100_000, allow_unicode=True, sort_keys=sort_keys)


def _messages(resources: Resources) -> dict[str, object]:
    made: dict[str, object] = {
        SHORT[type_url]: {
            name: MessageToDict(message, preserving_proto_field_name=True)
            for name, message in messages.items()
        }
        for type_url, messages in resources.by_type.items()
        if messages
    }
    made["origins"] = {
        " > ".join((SHORT[path[0]], *path[1:])): str(origin) for path, origin in resources.origins.items()
    }
    return made
