"""What all tests share: no traffic but to this machine, and no state of the person who runs them."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# huggingface_hub reads these when it is imported, so they stand before everything else.
_HOME = tempfile.mkdtemp(prefix="unrolled-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith(("HF_", "HUGGING", "HUB_"))]:
    del os.environ[_name]
sys.path.insert(0, str(Path(__file__).parent))
from hub_server import TOKEN, Hub  # noqa: E402

HUB = Hub()
os.environ |= {
    "HF_ENDPOINT": HUB.url,
    "HF_HOME": _HOME,
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "NO_PROXY": "127.0.0.1,localhost",
}

import pytest  # noqa: E402


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty Hub, a logged-in user and an empty cache."""
    from huggingface_hub import constants

    HUB.reset()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    yield HUB
    HUB.reset()


@pytest.fixture
def pushed(hub: Hub) -> Hub:
    """A Hub that has one classifier."""
    from tiny import tiny

    from model import push

    push(tiny(), "owner/tiny")
    hub.requests.clear()
    return hub


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Steps as small as those of tests only wait for a second thread, for seconds where the machine is busy."""
    import torch

    torch.set_num_threads(1)
