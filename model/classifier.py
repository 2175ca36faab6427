"""A network with what it takes to ask it something: vocabulary, labels, and the record of its training."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.config import UserError
from model.corpus import EncodedRows
from model.network import RecurrentNetwork
from model.text import Token, Vocabulary, read, tokenize

PREDICT_BATCH = 256  # rows predicted at once; bounds memory


def wilson(correct: int, total: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson 1927).

    Args:
        correct: successes.
        total: trials, at least 1.

    Returns:
        Lower and upper bound, from 0 to 1.
    """
    z = 1.959963984540054  # the normal distribution's 0.975 quantile
    share = correct / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def pick_device(name: str = "auto") -> torch.device:
    """The device that `name` means; "auto" is the accelerator where there is one of its own, else the CPU.

    A Space on ZeroGPU has none of its own: each call that borrows one is taken off the visitor's quota.

    Raises:
        UserError: there is no such device here.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return torch.device("cpu") if accelerator is None or os.environ.get("SPACES_ZERO_GPU") else accelerator
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError):
        device = None
    here = ["cpu"]
    if accelerator is not None:
        count = torch.accelerator.device_count()
        here += [accelerator.type, *(f"{accelerator.type}:{i}" for i in range(count))]
    if device is None or str(device) not in here:
        raise UserError(f"There is no device {name!r} here; there is {', '.join(here)}.")
    return device


@dataclass(frozen=True)
class Source:
    """Where a classifier's weights came from.

    Attributes:
        kind: "trained" (in this process), "bundled", "directory" or "hub".
        name: the directory, or "owner/name".
        commit: the Hub commit, else None.
        directory: where its files lie on this machine, optional notes among them; None for one just trained.
    """

    kind: str = "trained"
    name: str = ""
    commit: str | None = None
    directory: Path | None = None


@dataclass
class Classifier:
    """A trained network and everything needed to ask it.

    Attributes:
        network: in evaluation mode, float32.
        vocabulary: words it knows.
        labels: a name per class.
        record: what `training.json` says.
        source: where it came from.
    """

    network: RecurrentNetwork
    vocabulary: Vocabulary
    labels: tuple[str, ...]
    record: dict[str, Any] = field(default_factory=dict)
    source: Source = field(default_factory=Source)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.network.linear.weight.device

    @property
    def parameters(self) -> int:
        """How many numbers were learned."""
        return sum(weight.numel() for weight in self.network.parameters())

    def read(self, text: str) -> tuple[list[Token], int]:
        """Its tokens of `text`, at most `MAX_TOKENS`, and how many were cut off."""
        return read(text, self.vocabulary)

    @torch.no_grad()
    def predict(self, texts: Sequence[str]) -> Tensor:
        """Class probabilities.

        Padding changes nothing, unless the network reads it (`padding="read"`): such a one pads to the longest text
        of its batch.

        Args:
            texts: N of them, each read up to `MAX_TOKENS`.

        Returns:
            `(N, C)` float32 on the CPU.
        """
        if isinstance(texts, str):
            raise TypeError("predict takes a list of texts")
        if not texts:
            return torch.empty(0, len(self.labels))
        self.network.eval()
        rows = EncodedRows.encode([tokenize(text) for text in texts], [0] * len(texts), self.vocabulary)
        rows = rows.to(self.device)
        return predict_rows(self.network, rows).softmax(1).cpu()


@torch.no_grad()
def predict_rows(network: RecurrentNetwork, rows: EncodedRows) -> Tensor:
    """Logits for encoded rows, on the network's device.

    Returns:
        `(N, C)`, in the order of `rows`.
    """
    # Rows are sorted to save time, except where padding is read: there, which rows are together changes the result.
    order = rows.lengths.argsort(stable=True)
    if network.config.padding == "read":
        order = torch.arange(len(rows), device=order.device)
    logits = torch.empty(len(rows), network.config.num_classes, device=rows.lengths.device)
    for part in order.split(PREDICT_BATCH):
        tokens, lengths, _ = rows.batch(part)
        logits[part] = network(tokens, lengths)
    return logits
