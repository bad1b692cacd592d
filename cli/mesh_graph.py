"""`causeway mesh graph`: who may call whom, and how traffic goes there."""

from __future__ import annotations

import argparse
import json

from cli import exits
from cli.mesh_world import load
from mesh.simulate import graph


def run(options: argparse.Namespace) -> int:
    """Print the graph."""
    edges = graph.edges(load(options.paths))
    if options.format == "json":
        print(json.dumps({"edges": [edge.to_json() for edge in edges]}, indent=2))
    else:
        print("\n".join(graph.dot(edges) if options.format == "dot" else graph.text(edges)))
    return exits.OK
