"""A small server in the manner of FHIR, in a process of its own: what a gateway stands before."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from caretrail.listening import address_of, listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

FHIR = "application/fhir+json"
PATIENTS = 5


def _base(request: Request) -> str:
    host, port = request.scope["server"]
    return f"{request.scope['scheme']}://{host}:{port}/fhir"


def _fhir(body: Any, status: int = 200, **headers: str) -> Response:
    return Response(json.dumps(body), status, headers, FHIR)


async def read(request: Request) -> Response:
    kind, name = request.path_params["kind"], request.path_params["name"]
    subject = {} if kind == "Patient" else {"subject": {"reference": f"Patient/{int(name) % 5}"}}
    if request.method == "DELETE":
        return Response(status_code=204)
    body = {"resourceType": kind, "id": name, **subject}
    return _fhir(body, etag='W/"1"', date="Tue, 03 Feb 2026 10:00:00 GMT")


async def kind(request: Request) -> Response:
    name, base = request.path_params["kind"], _base(request)
    if request.method == "POST":
        await request.body()
        return _fhir({"resourceType": name, "id": "7"}, 201, location=f"{base}/{name}/7/_history/1")
    entry = [
        {
            "fullUrl": f"{base}/{name}/{number}",
            "resource": {
                "resourceType": name,
                "id": str(number),
                "subject": {"reference": f"Patient/{number}"},
            },
        }
        for number in range(int(request.query_params.get("_count", "1")))
    ]
    link = [{"relation": "next", "url": f"{base}/{name}?_page=2"}]
    found = {"resourceType": "Bundle", "type": "searchset", "link": link, "entry": entry}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            gzip.compress(json.dumps(found).encode()), 200, {"content-encoding": "gzip"}, FHIR
        )
    return _fhir(found)


async def echo(request: Request) -> Response:
    """Tell what arrived."""
    size = 0
    async for piece in request.stream():
        size += len(piece)
    headers = [[name.decode(), value.decode()] for name, value in request.headers.raw]
    target = request.scope["raw_path"].decode()
    query = request.scope["query_string"].decode()
    return JSONResponse({"headers": headers, "size": size, "target": target, "query": query})


async def slow(request: Request) -> Response:
    await asyncio.sleep(float(request.query_params["seconds"]))
    return _fhir({"resourceType": "Patient", "id": "1"})


async def large(request: Request) -> Response:
    """Send many pieces; the kind says whether capture looks into them."""
    count, pause = int(request.query_params["count"]), float(request.query_params.get("pause", 0))

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 65_536
            await asyncio.sleep(pause)

    return StreamingResponse(pieces(), media_type=request.query_params.get("type", "image/png"))


async def packed(request: Request) -> Response:
    """Send a Bundle of one, packed with gzip and in chunks, whether that was asked for or not."""
    base = _base(request)
    observation = {"resourceType": "Observation", "id": "3", "subject": {"reference": "Patient/3"}}
    link = [{"relation": "self", "url": f"{base}/Observation?_id=3"}]
    entry = [{"fullUrl": f"{base}/Observation/3", "resource": observation}]
    body = {"resourceType": "Bundle", "type": "searchset", "link": link, "entry": entry}
    data = gzip.compress(json.dumps(body).encode())

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 50):
            yield data[at : at + 50]
            await asyncio.sleep(0.01)

    return StreamingResponse(pieces(), headers={"content-encoding": "gzip"}, media_type=FHIR)


async def not_modified(request: Request) -> Response:
    return Response(status_code=304, headers={"etag": 'W/"1"', "content-length": "100"})


async def redirect(request: Request) -> Response:
    return Response(status_code=302, headers={"location": "http://169.254.169.254/latest"})


async def batch(request: Request) -> Response:
    """Answer each entry of a batch as a create."""
    asked = json.loads(await request.body())
    entry = [
        {"response": {"status": "201 Created", "location": f"Observation/{n}/_history/1"}}
        for n, _ in enumerate(asked["entry"])
    ]
    return _fhir({"resourceType": "Bundle", "type": "batch-response", "entry": entry})


app = Starlette(
    routes=[
        Route("/fhir/$echo", echo, methods=["GET", "POST"]),
        Route("/auth/token", echo, methods=["POST"]),
        Route("/fhir/$slow", slow),
        Route("/fhir/$large", large),
        Route("/fhir/$packed", packed),
        Route("/fhir/$not-modified", not_modified),
        Route("/fhir/$redirect", redirect),
        Route("/fhir", batch, methods=["POST"]),
        Route("/fhir/{kind}", kind, methods=["GET", "POST"]),
        Route("/fhir/{kind}/{name}", read, methods=["GET", "DELETE"]),
    ]
)


def main() -> None:
    listener = listen("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    sys.stdout.write(f"{address_of(listener)}\n")
    sys.stdout.flush()
    # A certificate and its key, where it is to speak TLS.
    tls = sys.argv[2] if len(sys.argv) > 2 else None
    config = uvicorn.Config(
        app,
        log_level="error",
        lifespan="off",
        date_header=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=tls,
        proxy_headers=False,  # Its links are its own, and not what the gateway tells it.
    )
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
