"""Calls the service over REST by httpx, as lines on standard input say: each is a JSON array of calls."""

import argparse
import asyncio
import json
import ssl
import sys
from typing import Any

import httpx


async def call_rest(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """Returns the answer, or the client's error."""
    try:
        response = await client.get(url)
    except asyncio.CancelledError:
        return {"failed": "cancelled"}
    except httpx.HTTPError as error:
        return {"failed": repr(error)}
    version = "HTTP/2" if response.http_version == "HTTP/2" else "HTTP/1.1"
    rest = {"status": response.status_code, "version": version, "body": response.text}
    reason = response.headers.get("error-reason")
    return {"rest": rest if reason is None else {**rest, "reason": reason}}


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--target", required=True, help="the service's origin")
    arguments.add_argument("--http2", action="store_true", help="HTTP/2, by prior knowledge where there is no TLS")
    arguments.add_argument("--ca", help="a certificate to trust, in PEM")
    options = arguments.parse_args()

    trust = ssl.create_default_context(cafile=options.ca) if options.ca else True
    # With TLS, both are offered.
    http1 = options.ca is not None or not options.http2
    async with httpx.AsyncClient(http1=http1, http2=options.http2, verify=trust, timeout=None) as client:
        running: dict[int, asyncio.Task[dict[str, Any]]] = {}

        async def answer(call: dict[str, Any]) -> None:
            result = await call_rest(client, f"{options.target}/get_status/{call['reqId']}")
            print(json.dumps({"id": call["id"], **result}), flush=True)

        while line := await asyncio.to_thread(sys.stdin.readline):
            for call in json.loads(line):
                if call.get("cancel"):
                    running[call["id"]].cancel()
                else:
                    running[call["id"]] = asyncio.create_task(answer(call))
        await asyncio.gather(*running.values())


asyncio.run(main())
