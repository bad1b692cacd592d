"""Collects the decisions of one proxy, each with the manifest's line behind it."""

from __future__ import annotations

from mesh.simulate.walk import Step
from mesh.xds.resources import Resources


class Trail:
    """Steps in the order in which they were taken."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self.steps: list[Step] = []

    def add(self, kind: str, says: str, *resource: str, sure: bool = True) -> None:
        """One decision; `resource` is a type URL, a resource's name, and names inside it, outermost first."""
        origin = self._resources.origin(*resource) if resource else None
        self.steps.append(Step(kind=kind, says=says, resource=resource, origin=origin, sure=sure))
