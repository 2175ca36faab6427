"""Apps in processes of their own, and what they are asked."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request

TEXT = "stocks fell on monday as oil prices hit a new record and the cup final went to extra time"


def sentence(tokens: int) -> str:
    """A text of so many tokens."""
    words = TEXT.split()
    return " ".join((words * (tokens // len(words) + 1))[:tokens])


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
