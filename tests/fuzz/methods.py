"""Every RPC there is, found through the generated code."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from google.protobuf.descriptor import Descriptor, FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import causeway


@dataclass(frozen=True)
class Method:
    """One RPC."""

    descriptor: MethodDescriptor

    def __str__(self) -> str:
        return f"{self.descriptor.containing_service.name}.{self.descriptor.name}"

    @property
    def path(self) -> str:
        """What goes over the wire: ``/package.Service/Method``."""
        return f"/{self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    @property
    def domain(self) -> str:
        """The service that serves it: ``session`` of ``causeway.session.v1``."""
        # One object for each name: pytest keeps a fixture only while its parameter is the same object.
        return sys.intern(self.descriptor.containing_service.file.package.split(".")[1])

    @property
    def request(self) -> Descriptor:
        """Of the request message."""
        return self.descriptor.input_type

    @property
    def response(self) -> type[Message]:
        """Class of the response message."""
        return GetMessageClass(self.descriptor.output_type)

    @property
    def arity(self) -> str:
        """The kind of RPC, as a channel calls it: ``unary_unary`` and so on."""
        sides = (self.descriptor.client_streaming, self.descriptor.server_streaming)
        return "_".join("stream" if streams else "unary" for streams in sides)


@cache
def all_methods() -> tuple[Method, ...]:
    """Every RPC of every service in the generated code."""
    return tuple(
        Method(method)
        for file in sorted(_files(), key=lambda file: file.name)
        for service in file.services_by_name.values()
        for method in service.methods
    )


def _files() -> Iterator[FileDescriptor]:
    for module in pkgutil.walk_packages(causeway.__path__, "causeway."):
        if module.name.endswith("_pb2"):
            yield importlib.import_module(module.name).DESCRIPTOR
