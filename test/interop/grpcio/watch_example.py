"""Follows requests as docs/use/waiting.md says: watch_example.py host:port id…"""

import random
import sys
import time

import grpc
from google.protobuf.json_format import MessageToJson

from gomemory.status.v1.status_pb2 import GetStatusResponse, WatchStatusRequest
from gomemory.status.v1.status_pb2_grpc import StatusServiceStub


def watch_statuses(stub, req_ids, report):
    """Reports the states of requests until all are done."""
    waiting = {req_id.lower() for req_id in req_ids}
    while waiting:
        try:
            for event in stub.WatchStatus(WatchStatusRequest(req_ids=waiting)):
                if event.WhichOneof("event") == "heartbeat":
                    continue
                report(event)
                if event.HasField("gone"):
                    waiting.discard(event.gone.req_id)
                elif event.status.status.status in (GetStatusResponse.success, GetStatusResponse.failure):
                    waiting.discard(event.status.req_id)
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
                raise
            time.sleep(random.uniform(1, 3))


with grpc.insecure_channel(sys.argv[1]) as channel:
    watch_statuses(
        StatusServiceStub(channel),
        sys.argv[2:],
        lambda event: print(MessageToJson(event, indent=None), flush=True),
    )
