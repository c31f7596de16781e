"""Calls the service by grpcio, over one channel, as lines on standard input say: each is a JSON array of calls."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2  # noqa: F401  MessageToDict prints the details that are imported
from google.rpc.status_pb2 import Status
from grpc_status.rpc_status import GRPC_DETAILS_METADATA_KEY

from gomemory.status.v1.status_pb2 import BatchGetStatusRequest, GetStatusRequest, WatchStatusRequest
from gomemory.status.v1.status_pb2_grpc import StatusServiceStub

REQUEST_ID = "x-request-id"


Report = Callable[[dict[str, Any]], None]


async def call_service(stub: StatusServiceStub, call: dict[str, Any], report: Report) -> dict[str, Any]:
    """Returns either a response or a google.rpc.Status, with the answer's x-request-id; reports the events of a stream."""
    options = {
        "metadata": ((REQUEST_ID, call["requestId"]),) if "requestId" in call else (),
        "timeout": call["timeoutMs"] / 1000 if "timeoutMs" in call else None,
        "wait_for_ready": True,
    }
    try:
        match call.get("method"):
            case "WatchStatus":
                async for event in stub.WatchStatus(WatchStatusRequest(req_ids=call["reqIds"]), **options):
                    report(MessageToDict(event))
                return {"status": {}}
            case "BatchGetStatus":
                response = await stub.BatchGetStatus(BatchGetStatusRequest(req_ids=call["reqIds"]), **options)
            case _:
                request = GetStatusRequest(req_id=call["reqId"])
                if "waitMs" in call:
                    request.wait.FromMilliseconds(call["waitMs"])
                response = await stub.GetStatus(request, **options)
        return {"response": MessageToDict(response)}
    except grpc.aio.AioRpcError as error:
        trailers = dict(error.trailing_metadata())
        status = Status(code=error.code().value[0], message=error.details())
        status.MergeFromString(trailers.get(GRPC_DETAILS_METADATA_KEY, b""))
        answer = {"status": MessageToDict(status)}
        return {**answer, "requestId": trailers[REQUEST_ID]} if REQUEST_ID in trailers else answer
    except asyncio.CancelledError:
        return {"status": {"code": grpc.StatusCode.CANCELLED.value[0]}}


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--target", required=True, help="the service's host:port")
    arguments.add_argument("--gzip", action="store_true", help="compress requests")
    arguments.add_argument("--ping", type=int, help="milliseconds between keepalive pings")
    arguments.add_argument("--service-config", type=Path, help="a file with a service config")
    options = arguments.parse_args()

    channel_options: list[tuple[str, int | str]] = []
    if options.ping is not None:
        channel_options = [
            ("grpc.keepalive_time_ms", options.ping),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        ]
    if options.service_config is not None:
        channel_options.append(("grpc.service_config", options.service_config.read_text()))
    compression = grpc.Compression.Gzip if options.gzip else grpc.Compression.NoCompression
    async with grpc.aio.insecure_channel(options.target, channel_options, compression) as channel:
        stub = StatusServiceStub(channel)
        running: dict[int, asyncio.Task[dict[str, Any]]] = {}

        async def answer(call: dict[str, Any]) -> None:
            def write(fields: dict[str, Any]) -> None:
                print(json.dumps({"id": call["id"], **fields}), flush=True)

            write(await call_service(stub, call, lambda event: write({"event": event})))

        while line := await asyncio.to_thread(sys.stdin.readline):
            for call in json.loads(line):
                if call.get("cancel"):
                    running[call["id"]].cancel()
                else:
                    running[call["id"]] = asyncio.create_task(answer(call))
        await asyncio.gather(*running.values())


asyncio.run(main())
