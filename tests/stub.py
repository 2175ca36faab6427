"""A classifier of six numbers whose answers can be worked out by hand: one unit, two classes.

h_t = tanh(x_t + CARRY h_{t-1}),    logits = (2 h + 0.1, -2 h)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from model.classifier import Classifier
from model.config import NetworkConfig
from model.network import RecurrentNetwork
from model.text import PADDING, UNKNOWN, Vocabulary

VALUES = {"up": 1.0, "down": -1.0, "hot": 2.0, "cold": -0.5, "the": 0.05, "of": -0.02}
UNKNOWN_VALUE = 0.01
CARRY = 0.5
LABELS = ("Rise", "Fall")


def stub(padding: str = "ignored") -> Classifier:
    words = [UNKNOWN, PADDING, *VALUES]
    config = NetworkConfig(
        cell="rnn", vocabulary_size=len(words), embedding_dim=1, hidden_dim=1, num_classes=2, padding=padding
    )
    network = RecurrentNetwork(config).eval()
    with torch.no_grad():
        network.embedding.weight.copy_(torch.tensor([UNKNOWN_VALUE, 0.0, *VALUES.values()]).unsqueeze(1))
        for weight, value in zip(network.recurrence.all_weights[0], (1.0, CARRY, 0.0, 0.0), strict=True):
            weight.fill_(value)
        network.linear.weight.copy_(torch.tensor([[2.0], [-2.0]]))
        network.linear.bias.copy_(torch.tensor([0.1, 0.0]))
    return Classifier(network, Vocabulary(words), LABELS)


def states(values: Sequence[float]) -> list[float]:
    """h after each of these inputs."""
    h, found = 0.0, []
    for value in values:
        h = math.tanh(value + CARRY * h)
        found.append(h)
    return found


def probability(values: Sequence[float]) -> float:
    """Of the first class, after these inputs."""
    h = states(values)[-1] if values else 0.0
    return 1 / (1 + math.exp(-(4 * h + 0.1)))


def values(text: str) -> list[float]:
    return [VALUES.get(word, UNKNOWN_VALUE) for word in text.split()]
