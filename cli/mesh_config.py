"""`causeway mesh config`: the xDS that a proxy is given."""

from __future__ import annotations

import argparse
import json
import re

from google.protobuf.json_format import MessageToDict

from cli import exits
from cli.exits import CommandError
from cli.mesh_world import load
from mesh.simulate.world import NoSuchProxyError
from mesh.xds.resources import SHORT


def run(options: argparse.Namespace) -> int:
    """Print it as JSON: by type, then by name. Secrets are not part of it."""
    try:
        node = load(options.paths).find(options.proxy, options.region)
    except NoSuchProxyError as error:
        raise CommandError(str(error), exits.USAGE) from error
    wanted = re.compile(options.name)
    document = {
        SHORT[kind]: {
            name: MessageToDict(resources[name], preserving_proto_field_name=True)
            for name in sorted(resources)
            if wanted.search(name)
        }
        for kind, resources in node.resources.by_type.items()
        if options.type in ("", SHORT[kind])
    }
    print(json.dumps({"proxy": node.name, "resources": document}, indent=2))
    return exits.OK
