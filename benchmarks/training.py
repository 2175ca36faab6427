"""How fast training is, beside the way of the notebook that this project grew from.

    python -m benchmarks.training --data DIR                a corpus in the format of AG_NEWS; about two minutes

The notebook's way: batches of 16 rows in random order from a `DataLoader`, a collate function that tokenises, encodes
and pads them in Python, Adam, and the loss and accuracy read after each step; embedding 64, hidden 32, and all words of
the training rows. Ours is what `train.py` runs: the settings of `model.training.speed_up`, rows encoded once into one
flat tensor, batches of 256 of near-equal length, a fused optimiser, and only those word vectors trained that a step
reads. Each way has a process of its own, since the settings are a whole process's: the notebook's has none of them, as
the notebook had none. The comparison is between networks of the same cell, sizes, vocabulary and readout, in one run, a
second each in turn while the others wait, so that a busy machine slows all of them alike; the median turn counts.
Padding counts as words in the notebook's first two networks and not in ours, which changes what they learn, not how
they compute.

The second table is the share of an epoch that is the network itself: forward, backward and optimiser (clipping, the
average of the weights and finding the words to train among it) on batches that lie ready. The recipes' own sizes are
among it.

Exits with 1 where ours is less than 20 times as fast, or the network's share less than 80 %.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader
from torchtext.data.utils import get_tokenizer

from benchmarks.machine import machine, table
from model import RECIPES, UserError
from model.config import Recipe
from model.corpus import Corpus, Dataset, EncodedRows, batches, prepare, read_corpus
from model.network import LAYERS, RecurrentNetwork
from model.text import PADDING_INDEX, UNKNOWN_INDEX, Vocabulary
from model.training import Stop, _Run, _sized, speed_up

LEAST_RATIO = 20.0
LEAST_SHARE = 0.8
TURNS = 9  # each is measured so often
SHARE_BATCHES = 16  # batches of the epoch whose share is measured
EMBEDDING, HIDDEN, NOTEBOOK_BATCH, OUR_BATCH = 64, 32, 16, 256

Turn = Callable[[float], float]
"""Trains for so many seconds and gives the rows per second."""

NOTEBOOK = {
    "notebook-rnn": "RNN, mean over outputs",
    "notebook-lstm": "LSTM, final state",
    "notebook-lstm-packed": "LSTM, packed sequences",
}


# ------------------------------------------------------------------------------------------------------ the notebook


class NotebookNetwork(nn.Module):
    """One of the notebook's three networks, written as there."""

    def __init__(self, cell: str, packed: bool, words: int, classes: int) -> None:
        super().__init__()
        self.cell, self.packed = cell, packed
        self.embedding = nn.Embedding(words, EMBEDDING, padding_idx=PADDING_INDEX)
        self.recurrence = LAYERS[cell](EMBEDDING, HIDDEN, batch_first=True)
        self.linear = nn.Linear(HIDDEN, classes)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Logits `(B, C)` of tokens `(B, T)`."""
        vectors = self.embedding(tokens)
        if self.cell == "rnn":
            return self.linear(self.recurrence(vectors)[0].mean(1))
        if self.packed:
            vectors = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        return self.linear(self.recurrence(vectors)[1][0][-1])


class Collate:
    """Texts to a padded batch, row by row."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tokenize = get_tokenizer("basic_english")
        self.index = {word: index for index, word in enumerate(vocabulary.words)}

    def __call__(self, rows: Sequence[tuple[str, int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens `(B, T)`, lengths `(B,)` and classes `(B,)`."""
        texts, classes = [], []
        for text, label in rows:
            texts.append(torch.tensor([self.index.get(token, UNKNOWN_INDEX) for token in self.tokenize(text)]))
            classes.append(label)
        lengths = torch.tensor([len(text) for text in texts])
        return pad_sequence(texts, batch_first=True, padding_value=PADDING_INDEX), lengths, torch.tensor(classes)


def notebook_steps(recipe: Recipe, corpus: Corpus, vocabulary: Vocabulary) -> Iterator[int]:
    """Trains the notebook's way.

    Yields:
        After each step, how many rows it read.
    """
    torch.manual_seed(0)
    network = NotebookNetwork(recipe.network.cell, recipe.network.packed, len(vocabulary), len(corpus.labels))
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.training.learning_rate)
    rows = list(zip(corpus.train.texts, corpus.train.classes, strict=True))
    loader: DataLoader[Any] = DataLoader(
        rows,  # type: ignore[arg-type]  # a list is a data set
        NOTEBOOK_BATCH,
        shuffle=True,
        collate_fn=Collate(vocabulary),
    )
    losses = correct = 0.0
    while True:
        for tokens, lengths, classes in loader:
            optimizer.zero_grad()
            logits = network(tokens, lengths)
            loss = F.cross_entropy(logits, classes)
            loss.backward()
            optimizer.step()
            losses += loss.item() * len(classes)
            correct += (logits.argmax(1) == classes).sum().item()
            yield len(classes)


def serve(pipe: Connection, corpus: Corpus, vocabulary: Vocabulary, threads: int) -> None:
    """Trains the notebook's way, the network and the seconds that it is told each time, in a process of its own."""
    torch.set_num_threads(threads)
    networks = {name: notebook_steps(RECIPES[name], corpus, vocabulary) for name in NOTEBOOK}
    while (asked := pipe.recv()) is not None:
        name, seconds = asked
        pipe.send(rows_per_second(networks[name], seconds))


@contextmanager
def notebook(corpus: Corpus, vocabulary: Vocabulary) -> Iterator[list[Turn]]:
    """The notebook's networks, each a turn in the process that `serve` runs in."""
    context = multiprocessing.get_context("spawn")  # a process that inherits nothing of `speed_up`
    pipe, end = context.Pipe()
    process = context.Process(target=serve, args=(end, corpus, vocabulary, torch.get_num_threads()), daemon=True)
    process.start()
    end.close()  # so that its death is an end of file here, and nothing to wait for

    def turn(name: str, seconds: float) -> float:
        pipe.send((name, seconds))
        speed: float = pipe.recv()
        return speed

    try:
        yield [partial(turn, name) for name in NOTEBOOK]
    finally:
        pipe.send(None)
        process.join()


# -------------------------------------------------------------------------------------------------------------- ours


def our_run(recipe: Recipe, data: Dataset, train: EncodedRows) -> _Run:
    """A training as `fit` starts it, that does not come to the end of its schedule while it is measured."""
    torch.manual_seed(0)
    network = RecurrentNetwork(_sized(recipe.network, data, None))
    network.train()
    return _Run(network, train, replace(recipe.training, epochs=10_000), 0, Stop(), None)


def our_steps(run: _Run) -> Iterator[int]:
    """Trains our way.

    Yields:
        After each step, how many rows it read.
    """
    while True:
        for rows in batches(run.train, run.training.batch_size, run.generator, run.window):
            run.step(rows)
            yield len(rows)


def same_network(recipe: Recipe) -> Recipe:
    """The notebook's network the way that our recipes train: batches of 256 of near-equal length, nothing packed."""
    return replace(
        recipe,
        network=replace(recipe.network, padding="ignored", packed=False),
        training=replace(recipe.training, batch_size=OUR_BATCH, lazy=True),
    )


# ---------------------------------------------------------------------------------------------------------- measuring


def rows_per_second(steps: Iterator[int], seconds: float) -> float:
    """Takes steps for so long."""
    rows, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        rows += next(steps)
    return rows / passed


def measure(turns: Sequence[Turn], seconds: float) -> list[float]:
    """Rows per second of each, the median of its turns."""
    for turn in turns:
        turn(seconds / 2)  # warms up
    speeds = [[turn(seconds) for turn in turns] for _ in range(TURNS)]
    return [statistics.median(column) for column in zip(*speeds, strict=True)]


def network_share(recipe: Recipe, data: Dataset) -> tuple[float, float]:
    """How much of an epoch is the network itself.

    Returns:
        Rows per second of an epoch, and the share, from 0 to 1.
    """
    size = recipe.training.batch_size
    count = min(len(data.train), SHARE_BATCHES * size)
    chosen = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:count]
    whole = data.train
    train = EncodedRows(whole.tokens, whole.offsets[chosen], whole.lengths[chosen], whole.classes[chosen])
    run = our_run(recipe, data, train)
    run.epoch(1)  # warms up
    speeds, shares = [], []
    for turn in range(2, 2 + TURNS):
        # The same batches in the same order, once ready beforehand and once as an epoch makes them.
        state = run.generator.get_state()
        ready = [train.batch(rows) for rows in batches(train, size, run.generator, run.window)]
        run.generator.set_state(state)
        began = time.perf_counter()
        for tokens, lengths, classes in ready:
            network_step(run, tokens, lengths, classes)
        between = time.perf_counter()
        run.epoch(turn)
        epoch = time.perf_counter() - between
        speeds.append(count / epoch)
        shares.append((between - began) / epoch)
    return statistics.median(speeds), statistics.median(shares)


def network_step(run: _Run, tokens: Tensor, lengths: Tensor, classes: Tensor) -> None:
    """One step of `run` on a batch that lies ready: forward, backward, optimiser."""
    assert run.words is not None  # all recipes that are measured here are lazy
    run.optimizer.zero_grad(set_to_none=True)
    vectors, tokens = run.words.read(tokens)
    logits = functional_call(run.network, {"embedding.weight": vectors}, (tokens, lengths))
    F.cross_entropy(logits, classes, label_smoothing=run.training.label_smoothing).backward()
    run.update([*run.weights, vectors])


def limited(corpus: Corpus, limit: int | None) -> Corpus:
    """The first rows of a corpus, for a quick look."""
    return corpus if limit is None else replace(corpus, train=corpus.train.select(range(min(limit, len(corpus.train)))))


def compare(directory: str, seconds: float, limit: int | None) -> bool:
    """Prints the tables.

    Returns:
        Whether both bounds hold.
    """
    speed_up()
    raw = limited(read_corpus(directory, repaired=False), limit)
    began = time.perf_counter()
    same = {name: same_network(RECIPES[name]) for name in NOTEBOOK}
    data = prepare(raw, same["notebook-rnn"].training)
    prepared = time.perf_counter() - began
    print(f"{machine()}; {len(raw.train):,} training rows, {len(data.vocabulary):,} words.\n")

    rows, good = [], True
    # Packed or not, ours is one: neither reads padding.
    ours = [our_steps(our_run(same[name], data, data.train)) for name in ("notebook-rnn", "notebook-lstm")]
    with notebook(raw, data.vocabulary) as turns:
        *theirs, our_rnn, our_lstm = measure([*turns, *(partial(rows_per_second, steps) for steps in ours)], seconds)
    for title, their, our in zip(NOTEBOOK.values(), theirs, (our_rnn, our_lstm, our_lstm), strict=True):
        good &= our / their >= LEAST_RATIO
        rows.append([title, f"{their:,.0f}", f"{our:,.0f}", f"{our / their:.0f}"])
    sizes = f"embedding {EMBEDDING}, hidden {HIDDEN}"
    print(table([f"same network, {sizes}", "the notebook's way, rows/s", "ours, rows/s", "times as fast"], rows))
    print(f"\nBefore its first epoch ours tokenises and encodes all rows once: {prepared:.1f} s.\n")

    cut = limited(read_corpus(directory), limit)
    product = {name: RECIPES[name] for name in ("rnn", "lstm", "gru")}
    sets = [(NOTEBOOK[name], same[name], data) for name in ("notebook-rnn", "notebook-lstm")]
    made: dict[tuple[object, ...], Dataset] = {}
    for name, recipe in product.items():
        training = recipe.training
        key = (training.min_frequency, training.max_vocabulary, training.validation_share)
        if key not in made:
            made[key] = prepare(cut, training)
        sets.append((f"recipe {name}", recipe, made[key]))
    rows = []
    for title, recipe, dataset in sets:
        speed, share = network_share(recipe, dataset)
        good &= share >= LEAST_SHARE
        network, training = recipe.network, recipe.training
        rows.append(
            [
                title,
                f"{network.embedding_dim}, {network.hidden_dim}",
                f"{len(dataset.vocabulary):,}",
                str(training.batch_size),
                f"{speed:,.0f}",
                f"{share:.0%}",
            ]
        )
    heading = ["ours", "embedding, hidden", "words", "batch", "rows/s", "share of the epoch that is the network itself"]
    print(table(heading, rows))
    return good


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", required=True, help="a corpus in the format of AG_NEWS")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a turn of each takes (default: 1)")
    parser.add_argument("--threads", type=int, help="of torch's (default: as many as it takes by itself)")
    parser.add_argument("--limit", type=int, metavar="ROWS", help="read so many training rows only")
    args = parser.parse_args(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        good = compare(args.data, args.seconds, args.limit)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    if not good:
        print(
            f"\nNot everywhere {LEAST_RATIO:.0f} times as fast, with {LEAST_SHARE:.0%} of the epoch in the network.",
            file=sys.stderr,
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
