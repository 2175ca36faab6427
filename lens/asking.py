"""What all experiments share: the form of a result, and asking a classifier about many sentences at once.

Shapes: N sentences, K variants of each, T tokens, C classes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lens.trace import plain_text, read_sentence, rounded
from model.classifier import Classifier, predict_rows
from model.corpus import EncodedRows
from model.network import read_out_prefixes
from model.text import PADDING_INDEX


@dataclass(frozen=True)
class Result:
    """What an experiment found: numbers, names and lists of them.

    `to_payload()` has the fields of the same names.
    """

    def to_payload(self) -> dict[str, Any]:
        """The fields for JSON: numbers to 4 significant digits, null for what is not finite."""
        return plain(asdict(self))

    def rows(self) -> list[list[Any]]:
        """A header, then a row for each thing that was tried."""
        raise NotImplementedError

    def to_csv(self) -> str:
        """`rows()` as CSV."""
        text = io.StringIO()
        csv.writer(text).writerows(plain(self.rows()))
        return text.getvalue()


def plain(value: Any) -> Any:
    """A value of nested dicts, lists and numbers as every JSON encoder takes it; see `lens.trace.rounded`."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return plain_text(value)
    return rounded(value) if isinstance(value, float) else value


def encode(classifier: Classifier, text: str) -> list[int]:
    """The word indices that the classifier reads of a text, at most `MAX_TOKENS`.

    Raises:
        UserError: the classifier reads padding as words.
    """
    tokens, _, _ = read_sentence(classifier, text)
    return classifier.vocabulary.encode(token.text for token in tokens)


def ask(classifier: Classifier, sentences: Sequence[Sequence[int]]) -> Tensor:
    """Probabilities for sentences of word indices, of any length: here nothing is cut off.

    Returns:
        `(N, C)` on the CPU.
    """
    classifier.network.eval()
    words = np.fromiter(chain(chain.from_iterable(sentences), [PADDING_INDEX]), dtype=np.int32)
    lengths = torch.tensor([len(sentence) for sentence in sentences], dtype=torch.int64)
    rows = EncodedRows(torch.from_numpy(words), lengths.cumsum(0) - lengths, lengths, torch.zeros_like(lengths))
    return predict_rows(classifier.network, rows.to(classifier.device)).softmax(1).cpu()


def ask_variants(classifier: Classifier, variants: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Probabilities for K variants of each of N sentences.

    Returns:
        `(N, K, C)` on the CPU.
    """
    return ask(classifier, list(chain.from_iterable(variants))).view(len(variants), -1, len(classifier.labels))


@torch.no_grad()
def running_verdicts(classifier: Classifier, sentences: Sequence[Sequence[int]]) -> list[Tensor]:
    """The verdict after each token.

    Returns:
        For each sentence `(T, C)` probabilities on the CPU.
    """
    network = classifier.network.eval()
    lengths = torch.tensor([len(sentence) for sentence in sentences], device=classifier.device)
    words = torch.full((len(sentences), max(1, int(lengths.max()))), PADDING_INDEX, device=classifier.device)
    for row, sentence in zip(words, sentences, strict=True):
        row[: len(sentence)] = torch.tensor(sentence, dtype=torch.int64)
    states = read_out_prefixes(network.states(network.embed(words), lengths), network.config.readout)
    verdicts = network.linear(states).softmax(2).cpu()
    return [verdict[: len(sentence)] for verdict, sentence in zip(verdicts, sentences, strict=True)]
