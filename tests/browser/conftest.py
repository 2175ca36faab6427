"""A real Chromium over the running app. A missing browser is a failure, not a skip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from benchmarks.running import free_port

ROOT = Path(__file__).parents[2]
ARTEFACTS = ROOT / "artefacts"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class App:
    """The page in a process of its own."""

    def __init__(self, log: Path, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        environment.pop("UNROLLED_MODELS", None)
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "app.py", "--port", str(self.port), *options],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    running = App(tmp_path_factory.mktemp("app") / "log")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    installed = shutil.which("chromium") or shutil.which("google-chrome")
    browser = playwright.chromium.launch(executable_path=installed, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture
def visit(chromium: Browser, app: App) -> Iterator[Callable[..., Page]]:
    """Opens the page; at the end there was no error in any console and no request to another host."""
    contexts, wrong = [], []

    def open_page(path: str = "", *, expected: str = "", drawn: bool = True, **options: object) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()

        def note(what: str) -> None:
            if not expected or not re.search(expected, what):
                wrong.append(what)

        page.on("console", lambda message: note(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: note(str(error)))
        page.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((app.url, "data:", "blob:", f"ws://127.0.0.1:{app.port}/"))
                else wrong.append(f"request to {request.url}")
            ),
        )
        page.goto(app.url + path)
        if drawn:
            page.wait_for_selector(".unrolled .panel")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def all_in_sight(page: Page) -> None:
    """Draws the panels that are scrolled out of sight, too."""
    page.add_style_tag(content=".unrolled .panel { content-visibility: visible !important; }")


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Callable[[Page], None]:
    """Keeps a screenshot of the page as an artefact of the run."""

    def keep(page: Page) -> None:
        ARTEFACTS.mkdir(exist_ok=True)
        all_in_sight(page)
        name = re.sub(r"[^\w-]+", "-", request.node.name).strip("-")
        page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)

    return keep
