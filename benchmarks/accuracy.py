"""How good the classifiers are, beside fastText and beside the notebook.

    python -m benchmarks.accuracy --data DIR        three seeds of rnn and lstm, fastText, the notebook's
    python -m benchmarks.accuracy --data DIR --seeds 0 --recipes rnn
    python -m benchmarks.accuracy --data DIR --vectors FILE         the notebook's recipe on GloVe among them

Each is trained as `train.py` trains it and read on the official test rows once. fastText (Joulin et al. 2017; bigrams,
5 epochs, learning rate 0.5, which its tutorial gives) learns from the same rows, repaired and cut into the same tokens;
it is a package of its own: pip install fasttext-wheel. About half an hour for everything on two cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.machine import machine, table
from benchmarks.notebook import NAMES
from model import RECIPES, UserError
from model.classifier import wilson
from model.config import Recipe
from model.corpus import Corpus, prepare, read_corpus
from model.text import read_vectors, tokenize
from model.training import fit


def percent(share: float) -> str:
    """A share with two decimals."""
    return f"{100 * share:.2f} %"


def our_rows(recipe: Recipe, corpus: Corpus, seeds: list[int], limit: int | None) -> list[str]:
    """Trains one recipe with each seed and describes the results."""
    accuracies, seconds, rows = [], [], 0
    for seed in seeds:
        began = time.perf_counter()
        record = fit(recipe, prepare(corpus, recipe.training, seed=seed, limit=limit), seed=seed).record
        seconds.append(time.perf_counter() - began)
        accuracies.append(record["test"]["accuracy"])
        rows = record["test"]["rows"]
    mean = sum(accuracies) / len(accuracies)
    low, high = wilson(round(mean * rows), rows)
    return [
        f"`{recipe.name}`",
        ", ".join(percent(accuracy) for accuracy in accuracies),
        percent(mean),
        f"{percent(low)} to {percent(high)}",
        f"{sum(seconds) / len(seconds):.0f}",
    ]


def fasttext_row(corpus: Corpus, seed: int, limit: int | None) -> list[str]:
    """Trains fastText with bigrams on the rows that our recipes train on."""
    import fasttext

    order = torch.randperm(len(corpus.train), generator=torch.Generator().manual_seed(seed))[:limit].tolist()
    held_out = round(len(order) * RECIPES["lstm"].training.validation_share)
    rows = corpus.train.select(order[held_out:])
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "train.txt")
        lines = (f"__label__{c} {' '.join(tokenize(t))}" for c, t in zip(rows.classes, rows.texts, strict=True))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        began = time.perf_counter()
        model = fasttext.train_supervised(str(path), wordNgrams=2, epoch=5, lr=0.5, dim=100, thread=2, verbose=0)
        seconds = time.perf_counter() - began
    # The package's own predict asks numpy for what numpy 2 refuses; the call below it does not.
    texts = [" ".join(tokenize(text)) + "\n" for text in corpus.test.texts]
    found = [model.f.predict(text, 1, 0.0, "strict")[0][1] for text in texts]
    correct = sum(f"__label__{c}" == label for c, label in zip(corpus.test.classes, found, strict=True))
    low, high = wilson(correct, len(texts))
    accuracy = percent(correct / len(texts))
    return ["fastText, bigrams", accuracy, accuracy, f"{percent(low)} to {percent(high)}", f"{seconds:.0f}"]


def notebook_rows(names: list[str], corpus: Corpus, vectors: str | None, limit: int | None) -> list[list[str]]:
    """Trains the notebook's recipes for their one epoch and sets them beside the notebook's results."""
    rows = []
    for name in names:
        recipe = RECIPES[name]
        data = prepare(corpus, recipe.training, limit=limit)
        start = None
        if recipe.training.vectors:
            if vectors is None:
                rows.append([f"`{name}`", percent(recipe.notebook_accuracy or 0), "needs --vectors FILE", ""])
                continue
            start = read_vectors(vectors, data.vocabulary)
        record = fit(recipe, data, vectors=start).record
        low, high = record["test"]["interval"]
        rows.append(
            [
                f"`{name}`",
                percent(recipe.notebook_accuracy or 0),
                percent(record["curves"][-1]["train_accuracy"]),
                f"{percent(record['test']['accuracy'])} ({percent(low)} to {percent(high)})",
            ]
        )
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", metavar="DIR", required=True, help="a corpus in the format of AG_NEWS")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    add(
        "--recipes",
        nargs="+",
        metavar="NAME",
        default=["rnn", "lstm", *NAMES],
        help="default: rnn lstm, the notebook's",
    )
    add("--vectors", metavar="FILE", help="GloVe vectors for the notebook's recipe on them")
    add("--limit", type=int, metavar="ROWS", help="train on so many rows only, for a quick look")
    add("--without-fasttext", action="store_true", help="leave fastText out")
    args = parser.parse_args(arguments)
    try:
        unknown = [name for name in args.recipes if name not in RECIPES]
        if unknown:
            raise UserError(f"There is no recipe {unknown[0]!r}; there is {', '.join(RECIPES)}.")
        if not args.without_fasttext and find_spec("fasttext") is None:  # known before half an hour of training
            raise UserError(
                "fastText is not installed: pip install fasttext-wheel, or leave it out with --without-fasttext."
            )
        repaired = read_corpus(args.data)
        ours = [name for name in args.recipes if name not in NAMES]
        rows = [our_rows(RECIPES[name], repaired, args.seeds, args.limit) for name in ours]
        if not args.without_fasttext:
            rows.append(fasttext_row(repaired, args.seeds[0], args.limit))
        print(f"{machine()}; {len(repaired.train):,} training rows, {len(repaired.test):,} test rows\n")
        print(table(["classifier", "test accuracy by seed", "mean", "95 % interval", "seconds each"], rows))
        theirs = [name for name in args.recipes if name in NAMES]
        if theirs:
            raw = read_corpus(args.data, repaired=False)
            found = notebook_rows(theirs, raw, args.vectors, args.limit)
            print()
            print(table(["recipe", "the notebook, training", "ours, training", "ours, test"], found))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
