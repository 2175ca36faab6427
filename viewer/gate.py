"""The gate that every posted request passes: how large it may be, how many are computed at once, how many may wait.

Gradio's queue bounds what goes through it. What a page asks is posted past the queue, which is ten times as fast, and
is bounded here.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# One sentence, and beside it one experiment, so that sentences are still read while it takes its time. More at a time
# only get into each other's way, since what Python does, one thread does at a time: of the rate without a server one
# sentence at a time reached 57 to 62 %, two 49 to 57, eight 31, on two processors (`python -m benchmarks.load --at-once
# N`). Each runs on one thread, so no number depends on how many processors there are, and a container's limit is kept
# without being known.
AT_ONCE = 1
# Requests. A class of two hundred pages, each of which asks one question at a time, fits in; the last of them has its
# answer within two seconds (`python -m benchmarks.load --users 200`), and a page waits for six before it asks again.
LINE = 256
LARGEST = 2 * 1024 * 1024  # bytes of a request: two texts of a megabyte
PATIENCE = 10.0  # seconds for a request to arrive whole

# Gradio computes the answer to these while they are open; to all others it answers at once, or queues them.
COMPUTED = re.compile(r"/gradio_api/(?:run|api)/(\w+)")

BUSY = "More is asked here than can be answered just now: try again in a few seconds."
TOO_LARGE = f"A request may have {LARGEST // 1024**2} megabytes: send a shorter text, its first 256 tokens are read."
TOO_SLOW = f"The request did not arrive within {PATIENCE:.0f} seconds: send it again."


class Gate:
    """ASGI middleware: lets posted requests through, a few at a time and in the order in which they came.

    One whose client has gone while it waited is dropped. What cannot be let through is answered with `{"error":
    sentence}` and status 503 (the line is full), 413 (too large) or 408 (it did not arrive in time).

    Args:
        app: what lies behind.
        at_once: requests that are computed at a time, apart from long ones.
        line: requests that may wait for their turn, or still arrive.
        long: names and numbers of endpoints that can take seconds; of all of them one request is computed at a time,
            beside the others.
    """

    def __init__(
        self, app: ASGIApp, at_once: int = AT_ONCE, line: int = LINE, long: Collection[str | int] = ()
    ) -> None:
        self.app = app
        self.long = frozenset(long)
        self._turns, self._long_turns = asyncio.Semaphore(at_once), asyncio.Semaphore(1)
        self._places = at_once + line
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if self._inside >= self._places:
            await _refuse(503, BUSY)(scope, receive, send)
            return
        self._inside += 1  # those that still arrive too, since what they sent takes memory
        try:
            try:
                async with asyncio.timeout(PATIENCE):
                    body = await _read(Request(scope, receive))
            except TimeoutError:
                await _refuse(408, TOO_SLOW)(scope, receive, send)
                return
            except ClientDisconnect:
                return
            if body is None:
                await _refuse(413, TOO_LARGE)(scope, receive, send)
            elif not (computed := COMPUTED.search(scope["path"])):
                await self.app(scope, _again(body, receive), send)
            else:
                turns = self._long_turns if _endpoint(computed[1], body) in self.long else self._turns
                if await _turn(turns, receive):
                    try:
                        await self.app(scope, _again(body, receive), send)
                    finally:
                        turns.release()
        finally:
            self._inside -= 1


def _endpoint(name: str, body: bytes) -> str | int:
    """What is asked: the page gives a number in place of a name."""
    try:
        number = json.loads(body)["fn_index"]
    except (ValueError, TypeError, KeyError, RecursionError):  # refused by Gradio, or named
        return name
    return number if isinstance(number, int) else name


async def _turn(turns: asyncio.Semaphore, receive: Receive) -> bool:
    """Waits for a turn; False when the client went first, and none is held."""
    turn = asyncio.ensure_future(turns.acquire())
    gone = asyncio.ensure_future(receive())  # the request is whole: nothing else comes
    try:
        await asyncio.wait((turn, gone), return_when=asyncio.FIRST_COMPLETED)
        left = gone.done()
        if left and turn.done():
            turns.release()
        return not left
    finally:
        gone.cancel()
        turn.cancel()


def _refuse(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, {"Connection": "close", "Retry-After": "5"})


async def _read(request: Request) -> bytes | None:
    """The whole body, or None where it is too large; of that no more is taken in."""
    if int(request.headers.get("content-length", 0)) > LARGEST:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            return None
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` as it was before the body was read."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def once_more() -> Message:
        return first.pop() if first else await receive()

    return once_more
