"""Classifiers for the lens's tests: small ones of random weights, and those that ship."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from model import load
from model.classifier import Classifier
from model.config import CELLS, READOUTS, NetworkConfig
from model.network import RecurrentNetwork
from model.text import PADDING, UNKNOWN, Vocabulary

LABELS = ("World", "Sports", "Business", "Sci/Tech")
RANDOM = [f"{cell}-{readout}" for cell in CELLS for readout in READOUTS]
PRETRAINED = Path(__file__).parents[1] / "model" / "pretrained"
# Both must load as soon as there is a directory for them.
SHIPPED = ["shipped-rnn", "shipped-lstm"] if PRETRAINED.is_dir() else []
ALL = RANDOM + SHIPPED
SENTENCE = "stocks fell on monday as oil prices rose and the w7 team won a w12 game in london"


def random_classifier(
    cell: str, readout: str = "last", hidden: int = 8, embedding: int = 6, padding: str = "ignored"
) -> Classifier:
    """Untrained weights, large enough that gates, verdicts and gradients move."""
    torch.manual_seed(CELLS.index(cell) + 10 * READOUTS.index(readout))
    words = [UNKNOWN, PADDING, *(f"w{i}" for i in range(300)), *SENTENCE.replace("w7", "").replace("w12", "").split()]
    words = list(dict.fromkeys(words))
    config = NetworkConfig(
        cell=cell,
        readout=readout,
        padding=padding,
        vocabulary_size=len(words),
        num_classes=len(LABELS),
        hidden_dim=hidden,
        embedding_dim=embedding,
        initialization="orthogonal",
    )
    network = RecurrentNetwork(config).eval()
    with torch.no_grad():
        network.linear.weight.mul_(3)
        network.recurrence.bias_hh_l0.normal_(std=0.3)
    return Classifier(network, Vocabulary(words), LABELS)


def named(name: str) -> Classifier:
    """The classifier that one of `ALL` means."""
    first, second = name.split("-")
    return load(PRETRAINED / second, device="cpu") if first == "shipped" else random_classifier(first, second)


def doubled(classifier: Classifier) -> Classifier:
    """The same classifier in double precision."""
    return Classifier(copy.deepcopy(classifier.network).double(), classifier.vocabulary, classifier.labels)


def words(count: int) -> str:
    """A sentence of that many tokens, a few of them unknown to every classifier."""
    known = SENTENCE.split()
    return " ".join(known[i % len(known)] if i % 5 else f"w{i * 7 % 310}" for i in range(count))
