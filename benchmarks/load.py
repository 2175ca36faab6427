"""How many are served at once, and how well.

    python -m benchmarks.load --users 50 --requests 20
    python -m benchmarks.load --at-once 8              another number than viewer.gate.AT_ONCE is computed at a time

Users of two kinds ask for /trace and /predict in turn, all at once, each its next question when the last is answered:
browsers, which post directly, and programs with gradio_client, which go through Gradio's queue. They ask `app.py`, and
an app that only echoes the text, with the same settings: what Gradio itself takes. In the same run, in one thread of
this process, the same questions without a server: the rate that a server can at best come near.

Prints for each how many answers were errors, the median and the 95th percentile of the time to an answer, and answers
per second; then the memory of `app.py` before and after.

Exits with 1 where an answer was an error, memory grew by 5 % or more, direct posts reach less than half of the rate
without a server, or gradio_client less than 80 % of what it reaches on the echo.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from gradio_client import Client

from app import BUNDLED, load_classifiers
from benchmarks.machine import machine, table
from benchmarks.running import free_port, sentence, start
from viewer.gate import AT_ONCE
from viewer.page import Page

LEAST_OF_RATE = 0.5
LEAST_OF_ECHO = 0.8
MOST_GROWTH = 0.05
TOKENS = 40

ECHO = """
import sys
import gradio as gr
from app import QUEUE, serve

def predict(text: str) -> str:
    return text

def trace(text: str, target: str | None = None) -> str:
    return text

with gr.Blocks(analytics_enabled=False) as blocks:
    for echo in (predict, trace):
        gr.api(echo, api_name=echo.__name__, queue=False, concurrency_id=QUEUE)
serve(blocks, "127.0.0.1", int(sys.argv[1]))
"""

OURS = """
import sys
from functools import partial
import app
app.Gate = partial(app.Gate, at_once=int(sys.argv.pop()))
app.main()
"""


@dataclass(frozen=True)
class Served:
    """What users of one kind met with."""

    seconds: list[float]  # to each answer
    errors: int
    rate: float  # answers per second, all users together

    def cells(self) -> list[str]:
        """A row of the table, but for its name."""
        p95 = statistics.quantiles(self.seconds, n=20)[18]
        return [
            f"{len(self.seconds):,}",
            str(self.errors),
            f"{statistics.median(self.seconds) * 1000:,.0f}",
            f"{p95 * 1000:,.0f}",
            f"{self.rate:.1f}",
        ]


def question(user: int, number: int) -> tuple[str, list[str | None]]:
    """The endpoint that a user asks and what he sends; no two sentences are the same."""
    text = f"{sentence(TOKENS - 2)} {user} {number}"
    return ("trace", [text, None]) if (user + number) % 2 else ("predict", [text])


def at_once(users: int, requests: int, ask: Callable[[int, int], bool]) -> Served:
    """Lets users ask so many questions each; `ask` takes the numbers of both and says whether there was an answer."""
    seconds: list[float] = []
    answered: list[bool] = []

    def work(user: int) -> None:
        for number in range(requests):
            began = time.perf_counter()
            answered.append(ask(user, number))
            seconds.append(time.perf_counter() - began)

    began = time.perf_counter()
    with ThreadPoolExecutor(users) as pool:
        list(pool.map(work, range(users)))
    return Served(seconds, answered.count(False), len(seconds) / (time.perf_counter() - began))


def browsers(url: str, users: int, requests: int) -> Served:
    """Direct posts, as the page makes them."""
    # The lightest client that there is: it takes its time from the same processors as the app.
    lines = [http.client.HTTPConnection(url.removeprefix("http://"), timeout=120) for _ in range(users)]

    def ask(user: int, number: int) -> bool:
        name, data = question(user, number)
        body = json.dumps({"data": data, "session_hash": f"visitor{user}"})
        lines[user].request("POST", f"/gradio_api/run/{name}", body, {"Content-Type": "application/json"})
        answer = lines[user].getresponse()
        answer.read()
        return answer.status == 200

    try:
        return at_once(users, requests, ask)
    finally:
        for line in lines:
            line.close()


def programs(url: str, users: int, requests: int) -> Served:
    """Calls by gradio_client."""
    clients = [Client(url, verbose=False) for _ in range(users)]

    def ask(user: int, number: int) -> bool:
        name, data = question(user, number)
        try:
            clients[user].predict(*data, api_name=f"/{name}")
        except Exception as error:  # whatever it is, it is counted
            print(f"gradio_client: {error}", file=sys.stderr)
            return False
        return True

    try:
        return at_once(users, requests, ask)
    finally:
        for client in clients:
            client.close()


def both(url: str, users: int, requests: int) -> tuple[Served, Served]:
    """Users of both kinds at once, half of each."""
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(programs, url, users // 2, requests)
        fast = browsers(url, users - users // 2, requests)
        return fast, slow.result()


def without_server(count: int) -> Served:
    """The same questions, asked in this process."""
    page = Page(load_classifiers(BUNDLED))
    ask: dict[str, Callable[..., object]] = {"trace": page.trace, "predict": page.predict}
    questions = [question(0, number) for number in range(count)]
    for name, data in questions[:20]:
        ask[name](*data)
    seconds = []
    for name, data in questions:
        began = time.perf_counter()
        ask[name](*data)
        seconds.append(time.perf_counter() - began)
    return Served(seconds, 0, count / sum(seconds))


def memory(process: int) -> float | None:
    """MB that a process holds, or None where the system does not say it in Linux's way."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def measure(users: int, requests: int, computed: int) -> bool:
    """Prints the tables; whether all bounds hold."""
    ports = free_port(), free_port()
    ours, echo = (f"http://127.0.0.1:{port}" for port in ports)
    processes = [
        start([sys.executable, "-c", OURS, "--port", str(ports[0]), str(computed)], ports[0]),
        start([sys.executable, "-c", ECHO, str(ports[1])], ports[1]),
    ]
    try:
        for url in (ours, echo):  # warms up, and makes the sessions that later ones reuse
            browsers(url, users, 4)
            programs(url, 2, 4)
        alone = without_server(400)
        before = memory(processes[0].pid)
        direct, direct_echo = (browsers(url, users, requests) for url in (ours, echo))
        queued, queued_echo = (programs(url, users, requests) for url in (ours, echo))
        mixed_direct, mixed_queued = both(ours, users, requests)
        after = memory(processes[0].pid)
    finally:
        for process in processes:
            process.terminate()
            process.wait()
    served = {
        "without a server, one thread": alone,
        "direct posts": direct,
        "direct posts, echo": direct_echo,
        "gradio_client": queued,
        "gradio_client, echo": queued_echo,
        "both at once: direct posts": mixed_direct,
        "both at once: gradio_client": mixed_queued,
    }
    print(
        f"{machine()}; {users} users, {requests} requests each, {TOKENS} tokens, /trace and /predict in turn, "
        f"{computed} computed at once.\n"
    )
    heading = ["", "requests", "errors", "median, ms", "p95, ms", "requests/s"]
    print(table(heading, [[name, *one.cells()] for name, one in served.items()]))

    errors = sum(one.errors for one in served.values())
    of_rate, of_echo = direct.rate / alone.rate, queued.rate / queued_echo.rate
    print(f"\nErrors: {errors}.")
    print(f"Direct posts reach {of_rate:.0%} of the rate without a server (bound: {LEAST_OF_RATE:.0%}).")
    print(f"gradio_client reaches {of_echo:.0%} of its rate on the echo (bound: {LEAST_OF_ECHO:.0%}).")
    good = errors == 0 and of_rate >= LEAST_OF_RATE and of_echo >= LEAST_OF_ECHO
    if before and after:
        asked = sum(len(one.seconds) for one in (direct, queued, mixed_direct, mixed_queued))
        print(
            f"Memory over {asked:,} requests: {before:.0f} to {after:.0f} MB, {after / before - 1:+.1%} "
            f"(bound: below {MOST_GROWTH:.0%})."
        )
        good &= after / before - 1 < MOST_GROWTH
    return good


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=50, help="how many at once (default: 50)")
    parser.add_argument("--requests", type=int, default=20, help="of each user (default: 20)")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help=f"computations at a time (default: {AT_ONCE})")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if measure(args.users, args.requests, args.at_once):
        return 0
    print("\nNot all bounds hold.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
