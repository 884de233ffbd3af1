"""The client's side: an httpx transport that records what a program asks of FHIR servers.

It is a transport and not a pair of event hooks, because hooks are not told of time-outs, and an
attempt that came to nothing is an event like the others.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import httpx

from caretrail import clock
from caretrail.capture import recorder as recording
from caretrail.limits import CAPTURE_BODY_BYTES_MAX
from caretrail.patterns.credential import opaque
from caretrail.patterns.exchange import (
    NOBODY,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    Exchange,
    Identity,
    Message,
)
from caretrail.patterns.observation import Machine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from caretrail.capture.recorder import Recorder
    from caretrail.patterns.exchange import Failure

_NOTHING: Final = Message()


def bearer(request: httpx.Request) -> Identity:
    """Return the end of the token that the request carries."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return Identity(credential=opaque(token)) if scheme.lower() == "bearer" else NOBODY


class AuditTransport(httpx.AsyncBaseTransport):
    """Wraps a transport; requests to `server` are recorded before their answer is handed on.

    `deliveries` are addresses to which this program sends notifications of subscriptions. The
    recorder's own server is this program, the client of these exchanges.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        recorder: Recorder,
        *,
        server: Machine,
        deliveries: Sequence[str] = (),
        identify: Callable[[httpx.Request], Identity] = bearer,
    ) -> None:
        self._inner, self._recorder, self._server = inner, recorder, server
        self._deliveries, self._identify = tuple(deliveries), identify

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its answer comes once its events are kept, or else the sink's error."""
        base, interaction = self._place(str(request.url))
        if base is None:
            return await self._inner.handle_async_request(request)
        request.headers["x-request-id"] = recording.request_id(request.headers.get("x-request-id"))
        try:
            response = await self._inner.handle_async_request(request)
        except asyncio.CancelledError:
            exchange = self._exchange(request, base, interaction, failure="cancelled")
            await asyncio.shield(self._recorder.try_to_record(exchange))
            raise
        except httpx.TransportError as error:
            failure: Failure = (
                "timeout" if isinstance(error, httpx.TimeoutException) else "unreachable"
            )
            exchange = self._exchange(request, base, interaction, failure=failure)
            await self._recorder.try_to_record(exchange)
            raise
        answer = await self._answer(response)
        exchange = self._exchange(
            request, base, interaction, answer=answer, status=response.status_code
        )
        await asyncio.shield(self._recorder.record(exchange))
        return response

    async def aclose(self) -> None:
        """Close the transport that is wrapped."""
        await self._inner.aclose()

    def _place(self, url: str) -> tuple[Machine | None, str]:
        base = self._server.address
        if url == base or url.startswith((f"{base}/", f"{base}?")):
            return self._server, ""
        for address in self._deliveries:
            if url.startswith(address):
                return Machine(
                    who={"identifier": {"value": address}}, address=address, address_type="5"
                ), "delivery"
        return None, ""

    async def _answer(self, response: httpx.Response) -> Message:
        """Return the answer as far as it is examined; its stream begins again with what was read."""
        kind = response.headers.get("content-type", "")
        headers = dict(response.headers.items())
        if not recording.is_examined(kind):
            return recording.message(headers, (), RESPONSE_HEADERS)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        rest, chunks, size = aiter(response.stream), [], 0
        while size <= CAPTURE_BODY_BYTES_MAX:
            chunk = await anext(rest, None)
            if chunk is None:
                break
            chunks.append(chunk)
            size += len(chunk)
        response.stream = _Replay(response.stream, chunks, rest)
        is_whole = size <= CAPTURE_BODY_BYTES_MAX
        return recording.message(headers, chunks, RESPONSE_HEADERS, is_whole=is_whole)

    def _exchange(
        self,
        request: httpx.Request,
        server: Machine,
        interaction: str,
        *,
        failure: Failure = "",
        answer: Message = _NOTHING,
        status: int = 0,
    ) -> Exchange:
        url = str(request.url.copy_with(query=None, fragment=None))
        headers = dict(request.headers.items())
        body = _body(request)
        recorder = self._recorder
        return Exchange(
            method=request.method,
            path=url.removeprefix(server.address).lstrip("/"),
            query=request.url.query.decode("latin-1"),
            request=recording.message(
                headers, (body[:CAPTURE_BODY_BYTES_MAX],), REQUEST_HEADERS,
                is_whole=len(body) <= CAPTURE_BODY_BYTES_MAX,
            ),
            response=answer,
            status=status,
            failure=failure,
            end=clock.instant(),
            server=server,
            client=recorder.server,
            identity=self._identify(request),
            request_id=headers["x-request-id"],
            trace_id=recording.trace_id(headers.get("traceparent")),
            site=recorder.site,
            by_client=True,
            interaction=interaction,
        )  # fmt: skip


def _body(request: httpx.Request) -> bytes:
    """Return the body where it is held in memory; one that streams has gone by."""
    try:
        return request.content
    except httpx.RequestNotRead:
        return b""


class _Replay(httpx.AsyncByteStream):
    """A stream that gives again what was read of it, and then goes on."""

    def __init__(
        self, inner: httpx.AsyncByteStream, chunks: list[bytes], rest: AsyncIterator[bytes]
    ) -> None:
        self._inner, self._chunks, self._rest = inner, chunks, rest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        async for chunk in self._rest:
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
