"""What is known of RPCs: whether calling one twice is harmless, and whether it streams."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC."""

    path: str
    """`/package.Service/Method`, its `:path`."""
    repeatable: bool
    """Its `idempotency_level` says NO_SIDE_EFFECTS or IDEMPOTENT."""
    streams: bool
    """Its requests or its responses are streamed."""


def platform_methods() -> Mapping[str, Method]:
    """Every RPC of the platform's protos, by path."""
    import causeway

    modules = [module.name for module in pkgutil.walk_packages(causeway.__path__, "causeway.")]
    services = [name for name in modules if name.endswith("_service_pb2")]
    return of_files(importlib.import_module(name).DESCRIPTOR for name in services)


def of_files(files: Iterable[FileDescriptor]) -> Mapping[str, Method]:
    """Every RPC that some proto files declare, by path."""
    return {
        method.path: method
        for file in files
        for service in file.services_by_name.values()
        for method in map(_method, service.methods)
    }


def _method(descriptor: MethodDescriptor) -> Method:
    return Method(
        path=f"/{descriptor.containing_service.full_name}/{descriptor.name}",
        repeatable=descriptor.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN,
        streams=descriptor.client_streaming or descriptor.server_streaming,
    )
