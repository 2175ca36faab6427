"""The page behind nginx, configured as the README says: under a path, and as two replicas of which one dies."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import httpx
import pytest
from conftest import ROOT, App
from gradio_client import Client
from playwright.sync_api import Page, expect

from benchmarks.running import free_port

SENTENCE = "Oil prices rise to a record as stocks fall"
# Everything that nginx would else keep in the system's folders, and a line for each request with who answered it.
AROUND = """
daemon off;
master_process off;
pid {place}/pid;
error_log {place}/error.log;
events {{}}
http {{
    log_format told '$request_method $uri $status $upstream_addr';
    access_log {place}/access.log told;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    {inside}
}}
"""


def from_readme(start: str, **changes: str) -> str:
    """The nginx configuration of the README that starts so, with each place that is changed found in it."""
    blocks = re.findall(r"```nginx\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if block.startswith(start)]
    for old, new in changes.items():
        assert old in found
        found = found.replace(old, new)
    return found


class Nginx:
    """A proxy in a process of its own, with all its files in one place."""

    def __init__(self, place: Path, port: int, inside: str) -> None:
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        assert program, "These tests need nginx: install the package nginx."
        place.mkdir()
        self.log = place / "access.log"
        (place / "nginx.conf").write_text(AROUND.format(place=place, inside=inside))
        self.process = subprocess.Popen(
            [program, "-p", str(place), "-c", str(place / "nginx.conf"), "-e", str(place / "error.log")]
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/nowhere")
                return
            except httpx.TransportError:
                assert self.process.poll() is None, (place / "error.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def requests(self) -> list[tuple[str, str, int, list[int]]]:
        """Method, path, status and the ports of who was asked, in that order, of each request that has ended."""
        lines = [line.split(" ", 3) for line in self.log.read_text().splitlines()]
        return [
            (method, path, int(status), [int(port) for port in re.findall(r":(\d+)", asked)])
            for method, path, status, asked in lines
        ]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def read(page: Page, text: str) -> None:
    """Types a sentence and waits for its answer."""
    page.fill("#sentence textarea", text)
    page.wait_for_function("text => location.hash.includes(`text=${encodeURIComponent(text)}`)", arg=text)
    page.wait_for_function("() => !document.querySelector('.unrolled').classList.contains('stale')", timeout=60000)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The page under /unrolled; nothing else is there. `visit` holds every request against this address."""
    place = tmp_path_factory.mktemp("path")
    behind = App(place / "log", "--root-path", "/unrolled")
    port = free_port()
    inside = from_readme("location /unrolled/", **{"127.0.0.1:7860": f"127.0.0.1:{behind.port}"})
    # A browser asks every host for its icon, whatever the page says; the icon belongs to what else the host serves.
    beside = "location / { return 404; } location = /favicon.ico { return 204; }"
    proxy = Nginx(place / "nginx", port, f"server {{ listen 127.0.0.1:{port}; {beside} {inside} }}")
    yield SimpleNamespace(url=f"http://127.0.0.1:{port}/unrolled/", port=port, proxy=proxy)
    proxy.stop()
    behind.stop()


def test_behind_a_path_the_page_reads_what_is_typed_and_nothing_asks_beside_the_path(visit, app):
    page = visit()
    read(page, SENTENCE)
    expect(page.locator(".strip .side-1 .token").last).to_have_text("fall")
    page.select_option("[data-act=method]", "integrated gradients")
    expect(page.locator(".completeness")).to_have_count(2)
    page.get_by_role("tab", name="Training").click()
    page.wait_for_selector(".training table")
    wait_for(lambda: [path for method, path, *_ in app.proxy.requests() if method == "POST"])
    asked = [(path, status) for _, path, status, _ in app.proxy.requests() if path not in ("/favicon.ico", "/nowhere")]
    assert [path for path, status in asked if status >= 400 or not path.startswith("/unrolled/")] == []


def test_behind_a_path_a_stream_of_events_brings_the_answer_of_the_queue(visit):
    page = visit()
    answer = page.evaluate(
        """async (text) => {
            const ask = await fetch('gradio_api/call/predict', {method: 'POST',
                headers: {'Content-Type': 'application/json'}, body: JSON.stringify({data: [text]})});
            const {event_id: id} = await ask.json();
            return await new Promise((done, fail) => {
                const stream = new EventSource(`gradio_api/call/predict/${id}`);
                stream.addEventListener('complete', (event) => { stream.close(); done(JSON.parse(event.data)); });
                stream.addEventListener('error', () => { stream.close(); fail(new Error('no answer')); });
            });
        }""",
        SENTENCE,
    )
    assert [said["name"] for said in answer[0]] == ["RNN", "LSTM"]


def test_behind_a_path_a_program_gets_its_answer(app):
    client = Client(app.url, verbose=False)
    assert [answer["name"] for answer in client.predict(SENTENCE, api_name="/predict")] == ["RNN", "LSTM"]


def test_behind_a_path_trace_and_picture_can_be_saved(visit):
    page = visit()
    read(page, "Oil prices rise")
    with page.expect_download() as trace:
        page.click("[data-act=trace]")
    assert json.loads(Path(trace.value.path()).read_text())["text"] == "Oil prices rise"
    with page.expect_download() as picture:
        page.click("[data-act=picture]")
    assert "Oil prices rise" in "".join(ElementTree.parse(picture.value.path()).getroot().itertext())


def test_behind_a_path_the_link_that_is_copied_brings_the_sentence(visit, app):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    read(page, SENTENCE)
    page.click("[data-act=link]")
    expect(page.locator("[data-part=status]")).to_contain_text("copied")
    link = page.evaluate("() => navigator.clipboard.readText()")
    assert link.startswith(f"{app.url}#text=Oil")
    other = visit(link.removeprefix(app.url), drawn=False)
    expect(other.locator(".strip .side-0 .token").first).to_have_text("oil")
    expect(other.locator("#sentence textarea")).to_have_value(SENTENCE)


def test_behind_a_path_an_address_without_the_last_slash_leads_to_the_page(chromium, app):
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(app.url.rstrip("/") + "#text=Oil%20prices")
        expect(page.locator(".strip .side-0 .token").last).to_have_text("prices")
        assert page.url.startswith(app.url)


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Two processes that serve the page, behind one nginx."""
    port = free_port()
    processes = {app.port: app for app in (App(tmp_path / f"log{number}") for number in (0, 1))}
    one, other = processes
    inside = from_readme(
        "map $cookie_replica",
        **{
            "127.0.0.1:7860": f"127.0.0.1:{one}",
            "127.0.0.1:7861": f"127.0.0.1:{other}",
            "listen 80;": f"listen {port};",
        },
    )
    proxy = Nginx(tmp_path / "nginx", port, inside)
    yield SimpleNamespace(url=f"http://127.0.0.1:{port}/", processes=processes, proxy=proxy)
    proxy.stop()
    for app in processes.values():
        app.stop()


def test_visitors_stay_with_one_replica_each_and_both_replicas_have_some(chromium, replicas):
    def who_answers() -> set[int]:
        """Who answers a new visitor, after the page itself, which brings the cookie."""
        with chromium.new_context() as context:
            page = context.new_page()
            page.goto(replicas.url)
            page.wait_for_selector(".unrolled .panel")
            before = len(replicas.proxy.requests())
            for text in ("oil", "oil prices", "oil prices rise"):
                read(page, text)
            wait_for(lambda: [line for line in replicas.proxy.requests()[before:] if "/run/" in line[1]])
            return {port for _, _, _, asked in replicas.proxy.requests()[before:] for port in asked}

    seen = [who_answers()]
    while set().union(*seen) != set(replicas.processes):
        seen.append(who_answers())
        assert len(seen) < 30  # by luck alone: once in 2 ** 29
    assert all(len(ports) == 1 for ports in seen)


def test_a_replica_that_is_killed_at_work_loses_no_answer_and_its_page_comes_back_with_its_sentence(chromium, replicas):
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(replicas.url)
        page.wait_for_selector(".unrolled .panel")
        read(page, SENTENCE)
        wait_for(lambda: [line for line in replicas.proxy.requests() if "/run/" in line[1]])
        (mine,) = [asked for _, path, _, asked in replicas.proxy.requests() if "/run/" in path][-1]

        # Others are at work while it dies: each a program with a cookie of its own, which no answer may fail.
        answered: list[int] = []
        over = threading.Event()

        def work(name: str) -> None:
            with httpx.Client(base_url=replicas.url, cookies={"replica": name}, timeout=60) as client:
                while not over.is_set():
                    answered.append(client.post("gradio_api/run/predict", json={"data": [SENTENCE]}).status_code)

        workers = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
        for worker in workers:
            worker.start()
        try:
            wait_for(lambda: len(answered) >= 40)
            replicas.processes[mine].process.kill()
            dead = len(answered)
            read(page, "Stocks rise as oil prices fall")  # in the page that the dead one served
            expect(page.locator(".strip .side-0 .token").first).to_have_text("stocks")
            page.reload()
            expect(page.locator(".strip .side-0 .token").last).to_have_text("fall", timeout=60000)
            expect(page.locator("#sentence textarea")).to_have_value("Stocks rise as oil prices fall")
            wait_for(lambda: len(answered) >= dead + 40)
        finally:
            over.set()
            for worker in workers:
                worker.join(60)
        assert set(answered) == {200}
        read(page, "Striker scores twice in the final")
        expect(page.locator(".strip .side-1 .token").last).to_have_text("final")
        wait_for(lambda: "/run/" in replicas.proxy.requests()[-1][1])
        assert replicas.proxy.requests()[-1][3][-1] != mine
        both = {port for _, path, _, asked in replicas.proxy.requests() if "/run/" in path for port in asked}
        assert both == set(replicas.processes)
