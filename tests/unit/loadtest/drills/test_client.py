"""What the drills read of an answer."""

from __future__ import annotations

import grpc.aio

from causeway.gateway.v1 import chat_service_pb2, chat_service_pb2_grpc
from loadtest.drills.client import GrpcCaller
from services.common.triton import REGION_KEY


class Models(chat_service_pb2_grpc.ChatServiceServicer):
    """Says where it is as a server's proxy does: in a header."""

    async def ListModels(
        self,
        request: chat_service_pb2.ListModelsRequest,
        context: grpc.aio.ServicerContext[
            chat_service_pb2.ListModelsRequest,
            chat_service_pb2.ListModelsResponse,
        ],
    ) -> chat_service_pb2.ListModelsResponse:
        await context.send_initial_metadata(((REGION_KEY, "us-east-1"),))
        return chat_service_pb2.ListModelsResponse()


async def test_the_region_that_answered_is_read_from_the_headers() -> None:
    server = grpc.aio.server()
    chat_service_pb2_grpc.add_ChatServiceServicer_to_server(
        Models(),  # type: ignore[abstract]  # the other calls are not asked for
        server,
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await GrpcCaller([channel], lambda: ()).unary(10) == "us-east-1"
    finally:
        await server.stop(None)
