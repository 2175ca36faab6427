"""How long the experiments take for one sentence, on one thread of the CPU.

    python -m benchmarks.experiments            the classifiers that ship
    python -m benchmarks.experiments --random   random weights of the recipes' sizes

Prints a table in markdown: the median milliseconds of each experiment for a sentence of 40 tokens (two halves: two of
20 tokens), everything that chance draws included. Exits with 1 where one takes longer than the bound.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.trace import SHIPPED, medians, random_classifier, sentence, shipped_classifier
from lens.experiments import distance, padding, two_sentences, word_order
from lens.judging import referee, two_halves
from lens.units import silence
from model.classifier import Classifier

TOKENS = 40
MOST_MILLISECONDS = 300.0


def halves(classifier: Classifier) -> tuple[str, str]:
    """Two texts of 20 tokens that the classifier takes for different classes."""
    words = [word for word in classifier.vocabulary.words[2:] if word.isalnum()][:2000]
    texts = [" ".join(words[start : start + 20]) for start in range(0, len(words) - 20, 20)]
    answers = classifier.predict(texts).argmax(1)
    other = int((answers != answers[0]).nonzero()[0])
    return texts[0], texts[other]


def experiments(classifier: Classifier) -> dict[str, Callable[[], object]]:
    """Each experiment by name."""
    text = sentence(classifier, TOKENS)
    return {
        "word order": partial(word_order, classifier, text),
        "distance": partial(distance, classifier, text),
        "padding": partial(padding, classifier, text),
        "two sentences": partial(two_sentences, classifier, text, text + " the"),
        "two halves": partial(two_halves, classifier, *halves(classifier)),
        "referee, with its twin": partial(referee, classifier, text),
        "a unit silenced": partial(silence, classifier, text, 0),
    }


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--random", action="store_true", help="random weights in place of the classifiers that ship")
    random = parser.parse_args(arguments).random
    torch.set_num_threads(1)

    both = [random_classifier(cell) if random else shipped_classifier(cell) for cell in SHIPPED]
    works = [experiments(classifier) for classifier in both]
    print(f"| experiment, {TOKENS} tokens | {' | '.join(f'{cell}, ms' for cell in SHIPPED)} |")
    print("|---|---:|---:|")
    good = True
    for name in works[0]:
        taken = medians([each[name] for each in works], least=5)
        good &= max(taken) <= MOST_MILLISECONDS
        print(f"| {name} | {' | '.join(f'{milliseconds:.1f}' for milliseconds in taken)} |")
    print(f"\nAt most {MOST_MILLISECONDS:.0f} ms each: {'yes' if good else 'no'}.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
