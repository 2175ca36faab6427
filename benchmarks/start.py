"""How long the page takes to start: `python -m benchmarks.start`.

Seconds from `python app.py` to its first answer, beside those of a Python that only imports torch, gradio and
torchtext, in turn in one run. Exits with 1 where the median is more than 1.3 times as long.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import httpx

from benchmarks.machine import machine, table
from benchmarks.running import free_port, sentence, start

MOST = 1.3


def imports() -> float:
    """Seconds of the imports alone."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch, gradio, torchtext"], check=True)
    return time.perf_counter() - began


def first_answer() -> float:
    """Seconds to the first verdict on a sentence."""
    port = free_port()
    began = time.perf_counter()
    process = start([sys.executable, "app.py", "--port", str(port)], port)
    try:
        body = {"data": [sentence(10)]}
        httpx.post(f"http://127.0.0.1:{port}/gradio_api/run/predict", json=body, timeout=60).raise_for_status()
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--turns", type=int, default=5, help="how often each is measured (default: 5)")
    turns = parser.parse_args(arguments).turns
    imports()  # from the disk into the system's cache
    pairs = [(imports(), first_answer()) for _ in range(turns)]
    alone, whole = (statistics.median(one) for one in zip(*pairs, strict=True))
    print(f"{machine()}\n")
    rows = [
        ["import torch, gradio, torchtext", f"{alone:.2f}", "1"],
        ["python app.py, to its first answer", f"{whole:.2f}", f"{whole / alone:.2f}"],
    ]
    print(table(["", "seconds", "times"], rows))
    good = whole / alone <= MOST
    print(f"\nAt most {MOST} times as long: {'yes' if good else 'no'}.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
