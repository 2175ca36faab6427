"""The measurement of the load runs against the real apps; its bounds want a quiet machine and are its own to hold."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_users_of_both_kinds_get_their_answers_and_the_table_says_how_fast():
    command = [sys.executable, "-m", "benchmarks.load", "--users", "4", "--requests", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "Errors: 0." in done.stdout, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    counts = {row[0].strip(): int(row[1].replace(",", "")) for row in rows if row[1].strip()[0].isdigit()}
    assert counts == {
        "without a server, one thread": 400,
        "direct posts": 12,
        "direct posts, echo": 12,
        "gradio_client": 12,
        "gradio_client, echo": 12,
        "both at once: direct posts": 6,
        "both at once: gradio_client": 6,
    }
    assert all(float(row[5]) > 0 for row in rows if row[1].strip()[0].isdigit())
    rate = int(re.search(r"Direct posts reach (\d+)% of the rate", done.stdout).group(1))
    alone, direct = (
        float(row[5]) for row in rows if row[0].strip() in ("without a server, one thread", "direct posts")
    )
    assert abs(rate - 100 * direct / alone) <= 1
