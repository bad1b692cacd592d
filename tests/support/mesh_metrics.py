"""What Prometheus would read from a proxy
(https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from support.mesh_processes import Proxy

_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:\\.|[^"\\])*)"')


@dataclass(frozen=True)
class Sample:
    """One time series and its value."""

    name: str
    labels: Mapping[str, str]
    value: float

    def __getitem__(self, label: str) -> str:
        return self.labels[label]


async def scrape(proxy: Proxy) -> list[Sample]:
    """Istio's metrics that a proxy has at its admin port now."""
    found = []
    for line in (await proxy.ask("/stats/prometheus")).splitlines():
        match = _LINE.fullmatch(line)
        if match is not None and "istio" in match[1] and not match[1].endswith("_bucket"):
            found.append(Sample(match[1], dict(_LABEL.findall(match[2] or "")), float(match[3])))
    return found


def having(samples: list[Sample], name: str, **labels: str) -> list[Sample]:
    """Those of a metric that have all these labels."""
    return [one for one in samples if one.name == name and _has(one, labels)]


def _has(sample: Sample, labels: Mapping[str, str]) -> bool:
    """An empty label is one that is not there, as Prometheus has it."""
    return all(sample.labels.get(name, "") == value for name, value in labels.items())


def total(samples: list[Sample], name: str, **labels: str) -> float:
    """Their sum."""
    return sum(one.value for one in having(samples, name, **labels))
