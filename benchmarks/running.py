"""Apps in processes of their own, and what they are asked."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
import urllib.request
from contextlib import suppress

TEXT = "stocks fell on monday as oil prices hit a new record and the cup final went to extra time"


def sentence(tokens: int) -> str:
    """A text of so many tokens."""
    words = TEXT.split()
    return " ".join((words * (tokens // len(words) + 1))[:tokens])


def free_port() -> int:
    """A port that nothing listens on, below those that the system gives to outgoing connections."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def start(command: list[str], port: int) -> subprocess.Popen[bytes]:
    """Starts an app and waits until it answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            return process
        except OSError:
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command[:3])} did not start.") from None
            time.sleep(0.02)
