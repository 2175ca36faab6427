"""How long the lens takes, on one thread of the CPU.

    python -m benchmarks.trace                  the classifiers that ship, and a GRU of random weights
    python -m benchmarks.trace --random         random weights of the recipes' sizes throughout

Prints a table in markdown and checks two bounds: a trace's cost per token at 256 tokens against 40, and the traces of
both classifiers that the page shows. Exits with 1 where one does not hold.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from lens import trace
from lens.attribution import evidence
from model import load
from model.classifier import Classifier
from model.config import RECIPES
from model.network import RecurrentNetwork
from model.text import PADDING, UNKNOWN, Vocabulary

LENGTHS = (10, 40, 100, 256)  # tokens
SHIPPED = ("rnn", "lstm")  # left and right on the page
MOST_GROWTH = 1.3  # cost per token, 256 against 40 tokens
MOST_MILLISECONDS = 30.0  # both traces of 40 tokens

_PRETRAINED = Path(__file__).parents[1] / "model" / "pretrained"
_WORDS = 20_000  # of a random classifier's vocabulary


def random_classifier(cell: str, readout: str = "last", seed: int = 0) -> Classifier:
    """A classifier of the recipe's sizes with untrained weights."""
    torch.manual_seed(seed)
    words = [UNKNOWN, PADDING, *(f"w{i}" for i in range(_WORDS))]
    config = replace(RECIPES[cell].network, readout=readout, vocabulary_size=len(words), num_classes=4)
    return Classifier(RecurrentNetwork(config).eval(), Vocabulary(words), ("World", "Sports", "Business", "Sci/Tech"))


def shipped_classifier(cell: str) -> Classifier:
    """The classifier that comes with the project."""
    return load(_PRETRAINED / cell, device="cpu")


def sentence(classifier: Classifier, tokens: int) -> str:
    """Words of the classifier's own vocabulary, one token each."""
    words = [word for word in classifier.vocabulary.words[2:] if word.isalnum()]
    return " ".join(words[(i * 7) % min(len(words), 1000)] for i in range(tokens))


def medians(works: Sequence[Callable[[], object]], seconds: float = 1.0, least: int = 3) -> list[float]:
    """Milliseconds of each, the median of runs taken in turn, so that a busy machine slows all of them alike."""
    for work in works:
        work()
    times: list[list[float]] = [[] for _ in works]
    end = time.perf_counter() + seconds
    while len(times[0]) < least or time.perf_counter() < end:
        for work, taken in zip(works, times, strict=True):
            began = time.perf_counter()
            work()
            taken.append(1e3 * (time.perf_counter() - began))
    return [statistics.median(taken) for taken in times]


def table(classifiers: dict[str, Classifier]) -> None:
    """Prints the milliseconds of each operation."""
    print("| classifier | tokens | forward pass, ms | trace, ms | integrated gradients, ms (steps) | deletion, ms |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, classifier in classifiers.items():
        for length in LENGTHS:
            text = sentence(classifier, length)
            label = classifier.labels[trace(classifier, text).predicted]
            steps = evidence(classifier, text, label, "integrated gradients").steps
            plain, traced, integrated, deleted = medians(
                [
                    partial(classifier.predict, [text]),
                    partial(trace, classifier, text),
                    partial(evidence, classifier, text, label, "integrated gradients"),
                    partial(evidence, classifier, text, label, "deletion"),
                ]
            )
            print(f"| {name} | {length} | {plain:.2f} | {traced:.1f} | {integrated:.0f} ({steps}) | {deleted:.1f} |")


def growth(cell: str, readout: str, seconds: float = 1.0) -> float:
    """A trace's cost per token at 256 tokens, in units of that at 40."""
    classifier = random_classifier(cell, readout)
    short, long = medians([partial(trace, classifier, sentence(classifier, n)) for n in (40, 256)], seconds)
    return (long / 256) / (short / 40)


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--random", action="store_true", help="random weights in place of the classifiers that ship")
    random = parser.parse_args(arguments).random
    torch.set_num_threads(1)

    kind = "random weights" if random else "shipped"
    both = {cell: random_classifier(cell) if random else shipped_classifier(cell) for cell in SHIPPED}
    table({f"{cell}, {kind}": both[cell] for cell in SHIPPED} | {"gru, random weights": random_classifier("gru")})

    good = True
    print(f"\nA trace's cost per token, 256 tokens against 40 (at most {MOST_GROWTH}):\n")
    for cell in ("rnn", "lstm", "gru"):
        for readout in ("last", "max"):
            ratio = growth(cell, readout)
            good &= ratio <= MOST_GROWTH
            print(f"- {cell}, {readout}: {ratio:.2f}")

    total = sum(medians([partial(trace, classifier, sentence(classifier, 40)) for classifier in both.values()], 2.0))
    good &= total <= MOST_MILLISECONDS
    print(f"\nTraces of both ({kind}), 40 tokens: {total:.1f} ms together (at most {MOST_MILLISECONDS:.0f}).")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
