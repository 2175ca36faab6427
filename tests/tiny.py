"""A classifier of a few dozen weights, with a record as training leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from model import Classifier
from model.classifier import wilson
from model.config import NetworkConfig
from model.network import RecurrentNetwork
from model.text import PADDING, UNKNOWN, Vocabulary

TEXTS = ["the cup final", "", "stocks fell", "the the stocks nobody knows"]


def tiny(
    cell: str = "lstm", labels: Sequence[str] = ("Sport", "Money"), seed: int = 0, half: bool = True, **record: Any
) -> Classifier:
    """Random weights, which half precision holds exactly if `half`."""
    torch.manual_seed(seed)
    words = [UNKNOWN, PADDING, "the", "cup", "stocks", "fell"]
    config = NetworkConfig(
        cell=cell, vocabulary_size=len(words), embedding_dim=3, hidden_dim=2, num_classes=len(labels)
    )
    network = RecurrentNetwork(config).eval()
    if half:
        network.load_state_dict({name: weight.half().float() for name, weight in network.state_dict().items()})
    count = len(labels)
    confusion = [[8 if row == column else 1 for column in range(count)] for row in range(count)]
    rows = sum(map(sum, confusion))
    test = {
        "loss": 0.5,
        "accuracy": 8 * count / rows,
        "interval": list(wilson(8 * count, rows)),
        "rows": rows,
        "confusion": confusion,
    }
    whole = {
        "recipe": "LSTM, last state",
        "seed": seed,
        "test": test,
        "rows": {"train": 80, "validation": 4, "test": rows},
        "digests": {"train": "a" * 64, "test": "b" * 64},
        "training": {"epochs": 2, "learning_rate": 0.005},
        "best_epoch": 2,
        "curves": [{"epoch": 1, "train_loss": 1.0}, {"epoch": 2, "train_loss": 0.5}],
    }
    return Classifier(network, Vocabulary(words), tuple(labels), whole | record)


def weights(classifier: Classifier) -> dict[str, Tensor]:
    return classifier.network.state_dict()


def same(one: Classifier, other: Classifier) -> bool:
    """Whether two classifiers are equal to the last bit, and answer so."""
    return (
        one.labels == other.labels
        and one.vocabulary.words == other.vocabulary.words
        and one.record == other.record
        and one.network.config == other.network.config
        and weights(one).keys() == weights(other).keys()
        and all(torch.equal(weights(one)[name], weights(other)[name]) for name in weights(one))
        and torch.equal(one.predict(TEXTS), other.predict(TEXTS))
    )
