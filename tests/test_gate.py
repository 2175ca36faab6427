"""The gate: how many at once, how many wait, what happens to those that do not fit, and to those that leave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest
import uvicorn
from apart import run_apart
from gradio_client import Client
from starlette.types import Receive, Scope, Send
from tiny import tiny

import app
from app import SESSIONS, build, serve
from benchmarks.running import free_port
from viewer import gate
from viewer.gate import BUSY, TOO_LARGE, TOO_SLOW, Gate
from viewer.page import EXPERIMENTS, Page

PLACE = "/gradio_api/run/trace"


class Slow:
    """An app that answers with what it was sent when it is let go, and remembers how many it had at once."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.started: list[bytes] = []
        self.inside = self.most = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.started.append(body)
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.let_go.wait()
        await asyncio.sleep(0)
        self.inside -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def until(self, count: int) -> None:
        """Waits until so many requests have reached it."""
        async with asyncio.timeout(10):
            while len(self.started) < count:
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def served(app: Slow, at_once: int, line: int, long: Sequence[str]) -> AsyncIterator[httpx.AsyncClient]:
    """The app behind a gate, over a real socket."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(Gate(app, at_once, line, long), port=port, log_level="critical", lifespan="off")
    )
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, limits=limits) as client:
        yield client
    server.should_exit = True
    await running


def behind(
    at_once: int, line: int, long: Sequence[str] = ()
) -> Callable[[Callable[[Slow, httpx.AsyncClient], Awaitable[None]]], None]:
    """Runs a test's body with an app behind a gate."""

    def run(body: Callable[[Slow, httpx.AsyncClient], Awaitable[None]]) -> None:
        async def whole() -> None:
            app = Slow()
            async with served(app, at_once, line, long) as client:
                await body(app, client)

        run_apart(whole())

    return run


def test_so_many_at_once_in_order_and_each_gets_its_own_answer() -> None:
    @behind(2, 10)
    async def _(app: Slow, client: httpx.AsyncClient) -> None:
        asked = []
        for number in range(8):
            asked.append(asyncio.create_task(client.post(PLACE, content=str(number))))
            await asyncio.sleep(0.03)
        assert app.started == [b"0", b"1"]
        app.let_go.set()
        answers = await asyncio.gather(*asked)
        assert [answer.text for answer in answers] == [str(number) for number in range(8)]
        assert app.started == [str(number).encode() for number in range(8)]
        assert app.most == 2


def test_beyond_the_line_there_is_a_sentence_at_once_and_later_room_again() -> None:
    @behind(1, 2)
    async def _(app: Slow, client: httpx.AsyncClient) -> None:
        inside = [asyncio.create_task(client.post(PLACE, content="a")) for _ in range(3)]
        await app.until(1)
        await asyncio.sleep(0.1)
        began = time.perf_counter()
        refused = await client.post(PLACE, content="b")
        assert time.perf_counter() - began < 5  # while the others wait for as long as it takes
        assert refused.status_code == 503
        assert refused.json()["error"] == BUSY
        assert int(refused.headers["retry-after"]) > 0
        app.let_go.set()
        assert [answer.status_code for answer in await asyncio.gather(*inside)] == [200] * 3
        assert (await client.post(PLACE, content="c")).text == "c"


def test_a_waiting_request_whose_client_has_gone_is_never_computed_and_its_place_is_free() -> None:
    @behind(1, 1)
    async def _(app: Slow, client: httpx.AsyncClient) -> None:
        first = asyncio.create_task(client.post(PLACE, content="first"))
        await app.until(1)
        gone = asyncio.create_task(client.post(PLACE, content="gone"))
        await asyncio.sleep(0.1)
        assert (await client.post(PLACE, content="no room")).status_code == 503
        gone.cancel()
        await asyncio.sleep(0.1)
        last = asyncio.create_task(client.post(PLACE, content="last"))
        await asyncio.sleep(0.1)
        app.let_go.set()
        assert (await first).text == "first"
        assert (await last).text == "last"
        assert app.started == [b"first", b"last"]


def test_long_ones_are_computed_beside_the_others_and_one_that_leaves_holds_up_nobody() -> None:
    @behind(1, 10, long=("slow", 3))
    async def _(app: Slow, client: httpx.AsyncClient) -> None:
        slow = []
        for number in range(3):
            name, body = ("slow", f"slow {number}") if number < 2 else ("predict", '{"fn_index": 3}')
            slow.append(asyncio.create_task(client.post(f"/gradio_api/run/{name}", content=body)))
            await asyncio.sleep(0.1)
        quick = asyncio.create_task(client.post(PLACE, content="quick"))
        await app.until(2)
        assert app.started == [b"slow 0", b"quick"]
        slow[1].cancel()
        await asyncio.sleep(0.1)
        app.let_go.set()
        assert (await quick).text == "quick"
        assert [(await slow[number]).text for number in (0, 2)] == ["slow 0", '{"fn_index": 3}']
        assert app.started == [b"slow 0", b"quick", b'{"fn_index": 3}']


def test_a_request_that_fails_gives_its_turn_back() -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    async def whole() -> None:
        transport = httpx.ASGITransport(Gate(fails, 1, 0))
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            for _ in range(3):
                with pytest.raises(RuntimeError, match="broken"):
                    await client.post(PLACE, content="a")

    run_apart(whole())


@pytest.mark.parametrize("said", [True, False], ids=["its length is said", "its length is not said"])
def test_a_request_that_is_too_large_is_refused_before_it_is_read(said: bool) -> None:
    @behind(1, 1)
    async def _(app: Slow, client: httpx.AsyncClient) -> None:
        app.let_go.set()

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(gate.LARGEST // 2**16 + 1):
                yield b"x" * 2**16

        content = b"x" * (gate.LARGEST + 1) if said else pieces()
        refused = await client.post(PLACE, content=content)
        assert refused.status_code == 413
        assert refused.json()["error"] == TOO_LARGE
        assert app.started == []
        assert len((await client.post(PLACE, content=b"x" * gate.LARGEST)).content) == gate.LARGEST


def test_a_request_that_does_not_arrive_is_refused_and_leaves_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PATIENCE", 0.2)

    @behind(1, 0)
    async def _(app: Slow, client: httpx.AsyncClient) -> None:
        app.let_go.set()
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(f"POST {PLACE} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc".encode())
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert TOO_SLOW.encode() in answer
        writer.close()
        assert app.started == []
        assert (await client.post(PLACE, content="a")).text == "a"


def test_what_is_not_computed_waits_for_nobody() -> None:
    @behind(1, 10)
    async def _(app: Slow, client: httpx.AsyncClient) -> None:
        waiting = [asyncio.create_task(client.post(PLACE, content="a")) for _ in range(3)]
        await app.until(1)
        others = [
            asyncio.create_task(client.get("/")),
            asyncio.create_task(client.post("/gradio_api/queue/join", content="joins")),
        ]
        await app.until(3)
        assert app.started == [b"a", b"", b"joins"]
        app.let_go.set()
        await asyncio.gather(*waiting, *others)


class Waiting(Page):
    """Reads each text when it is let go, and remembers which ones it was asked for."""

    def __init__(self) -> None:
        super().__init__([tiny()])
        self.let_go = threading.Event()
        self.asked: list[str] = []

    def predict(self, text: str) -> list[dict[str, Any]]:
        """What `Page.predict` says, later."""
        self.asked.append(text)
        assert self.let_go.wait(60)
        return super().predict(text)


def test_before_gradio_what_waits_is_bounded_and_who_has_gone_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gate.__init__, "__defaults__", (2, 3, ()))
    page = Waiting()
    blocks = build(page)
    try:
        serve(blocks, "127.0.0.1", free_port(), prevent_thread_lock=True)
        run_apart(_ask_what_waits(page, blocks.local_url))
    finally:
        page.let_go.set()
        blocks.close()


async def _ask_what_waits(page: Waiting, url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        def ask(text: str) -> asyncio.Task[httpx.Response]:
            return asyncio.create_task(client.post("gradio_api/run/predict", json={"data": [text]}))

        first = [ask("one"), ask("two")]
        async with asyncio.timeout(30):
            while len(page.asked) < 2:
                await asyncio.sleep(0.02)
        gone = ask("gone")
        await asyncio.sleep(0.3)
        line = [ask("three"), ask("four")]
        await asyncio.sleep(0.3)
        refused = await ask("no room")
        assert (refused.status_code, refused.json()) == (503, {"error": BUSY})
        gone.cancel()
        await asyncio.sleep(0.3)
        late = ask("late")
        await asyncio.sleep(0.3)
        assert len(page.asked) == 2
        page.let_go.set()
        answers = await asyncio.gather(*first, *line, late)
        assert {answer.status_code for answer in answers} == {200}
        assert sorted(page.asked) == ["four", "late", "one", "three", "two"]


def test_nothing_of_what_a_visitor_sends_or_is_told_stays_in_his_session() -> None:
    blocks = build(Page([tiny()]))
    try:
        serve(blocks, "127.0.0.1", free_port(), prevent_thread_lock=True)
        with httpx.Client(base_url=blocks.local_url, timeout=60) as client:
            for number in range(3):
                for name, data in (("trace", ["Rumpelstilzchen", None]), ("two_sentences", ["cup", "Rumpelstilzchen"])):
                    body = {"data": data, "session_hash": f"visitor{number}"}
                    assert "umpelstilzchen" in client.post(f"gradio_api/run/{name}", json=body).text
                question = {"data": [], "fn_index": 0, "event_data": {"text": "Rumpelstilzchen", "number": 1}}
                answer = client.post("gradio_api/run/read", json=question | {"session_hash": f"visitor{number}"})
                assert "umpelstilzchen" in answer.text
        Client(blocks.local_url, verbose=False).predict("Rumpelstilzchen", api_name="/predict")  # through the queue
        sessions = blocks.state_holder.session_data
        assert len(sessions) == 4
        assert blocks.state_session_capacity == SESSIONS
        for session in sessions.values():
            assert "umpelstilzchen" not in str(session.config_values)
            assert not session.state_data
    finally:
        blocks.close()


def test_the_experiments_are_known_as_long_by_their_names_and_by_the_number_that_the_page_asks_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Gate] = []

    class Seen(Gate):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(app, "Gate", Seen)
    blocks = build(Page([tiny()]))
    try:
        serve(blocks, "127.0.0.1", free_port(), prevent_thread_lock=True)
        body = {"data": [], "fn_index": 1, "event_data": {"name": "word_order", "text": "cup", "number": 7}}
        answer = httpx.post(f"{blocks.local_url}gradio_api/run/predict", json=body, timeout=60)
        assert json.loads(answer.json()["data"][0])["name"] == "word_order"
    finally:
        blocks.close()
    assert made[0].long == {"experiment", *EXPERIMENTS, 1, *range(5, 5 + len(EXPERIMENTS))}
