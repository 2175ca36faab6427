"""Train recurrent text classifiers, and put them on the Hugging Face Hub.

  python train.py                                   the RNN and the LSTM, on AG_NEWS (downloaded once, 31 MB)
  python train.py --data my_corpus/                 on your own text
  python train.py --recipe gru --epochs 2           another recipe, shorter
  python train.py --recipe notebook-rnn-glove --vectors glove.6B.50d.txt
  python train.py --push-to-hub YOUR_NAME           and push each to YOUR_NAME/CORPUS-RECIPE
  python train.py --measure checkpoints/lstm        ask a trained one the experiments' questions about the test rows
  torchrun --standalone --nproc-per-node 2 train.py in two processes: the same steps, shared out

A corpus is a directory with train.csv and test.csv (class number from 1, then the text in one or more columns; no
header) and classes.txt (one name a line). Each classifier is written to OUT/RECIPE as soon as it is trained.
Part of the training rows, drawn by --seed, is held out to choose the epoch; the test rows are read once, at the end.
Ctrl-C keeps the best epoch so far; a second one stops at once.
To push, log in first: hf auth login, or set HF_TOKEN.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from tqdm import tqdm

from lens.findings import FINDINGS
from lens.findings import measure as measure_findings
from lens.notes import to_json
from lens.unit_measures import measure_units
from lens.units import UNITS
from model import RECIPES, Classifier, UserError, load, push, save
from model.checkpoint import annotate, require_replaceable
from model.classifier import pick_device
from model.config import Recipe, TrainingConfig
from model.corpus import (
    AG_NEWS_LABELS,
    Corpus,
    Dataset,
    cache_directory,
    download_ag_news,
    prepare,
    read_corpus,
)
from model.text import find_vectors, read_vectors
from model.training import Progress, fit, speed_up


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    recipes = "\n".join(f"  {name:22}{recipe.summary}" for name, recipe in RECIPES.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"recipes:\n{recipes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--recipe", nargs="+", metavar="NAME", default=["rnn", "lstm"], help="what to train (default: rnn lstm)")
    add("--data", metavar="DIR", help="a corpus (default: AG_NEWS, downloaded into the cache)")
    add("--out", metavar="DIR", default="checkpoints", help="where classifiers are written (default: checkpoints)")
    add("--epochs", type=int, help="passes over the training rows (default: the recipe's)")
    add("--batch-size", type=int, help="rows a step, over all processes together (default: the recipe's)")
    add("--lr", type=float, help="the learning rate, at its peak (default: the recipe's)")
    add("--seed", type=int, default=0, help="draws weights, order and the held-out rows (default: 0)")
    add("--limit", type=int, metavar="ROWS", help="train on so many rows only, drawn by the seed")
    add("--device", default="auto", help="cpu, cuda, cuda:1, mps, xpu (default: the accelerator, else cpu)")
    add(
        "--vectors",
        metavar="FILE",
        help="start from word vectors in GloVe's text format; the embedding takes their size",
    )
    add("--push-to-hub", metavar="OWNER", help="push each classifier to OWNER/CORPUS-RECIPE on the Hugging Face Hub")
    add("--private", action="store_true", help="make repositories that are created private")
    add(
        "--measure",
        metavar="DIR",
        help="no training: write findings.json and units.json, what the page shows of the test rows, beside the "
        "weights in DIR; --data must be the corpus it was trained on",
    )
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def chosen_recipes(args: argparse.Namespace) -> list[Recipe]:
    """The recipes that were named, with what was overridden."""
    unknown = [name for name in args.recipe if name not in RECIPES]
    if unknown:
        raise UserError(f"There is no recipe {unknown[0]!r}; there is {', '.join(RECIPES)}.")
    if args.limit is not None and args.limit < 1:
        raise UserError(f"--limit is {args.limit}; give the number of rows to train on.")
    named = {
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "learning_rate": args.lr,
        "vectors": args.vectors,
    }
    given = {field: value for field, value in named.items() if value is not None}
    recipes = [RECIPES[name] for name in dict.fromkeys(args.recipe)]
    return [replace(recipe, training=replace(recipe.training, **given)) for recipe in recipes]


class Data:
    """The corpus as each recipe wants it; recipes that want the same share the work."""

    def __init__(self, directory: Path, seed: int, limit: int | None) -> None:
        self.directory, self.seed, self.limit = directory, seed, limit
        self._corpora: dict[bool, Corpus] = {}
        self._sets: dict[tuple[object, ...], Dataset] = {}

    def for_training(self, config: TrainingConfig) -> Dataset:
        """Reads, splits and encodes, or hands out what was made before."""
        key = (config.repair, config.validation_share, config.min_frequency, config.max_vocabulary)
        if key not in self._sets:
            if config.repair not in self._corpora:
                self._corpora[config.repair] = read_corpus(self.directory, repaired=config.repair)
            corpus = self._corpora[config.repair]
            self._sets[key] = prepare(corpus, config, seed=self.seed, limit=self.limit)
        return self._sets[key]


def corpus_name(directory: Path, labels: tuple[str, ...]) -> str:
    """A name for the corpus that may stand in a repository's name."""
    if labels == AG_NEWS_LABELS:
        return "agnews"
    return re.sub(r"[^A-Za-z0-9]+", "-", directory.resolve().name).strip("-") or "text"


@contextmanager
def bar(recipe: Recipe, epochs: int) -> Iterator[Progress]:
    """A progress bar an epoch, with loss, accuracy and rows per second; closed also where training ends early."""
    state: dict[str, tqdm] = {}

    def show(epoch: int, seen: int, rows: int, loss: float, accuracy: float) -> None:
        title = f"{recipe.name} {epoch}/{epochs}"
        if title not in state:
            state[title] = tqdm(total=rows, desc=title, unit=" rows", dynamic_ncols=True)
        state[title].set_postfix_str(f"loss {loss:.3f}, accuracy {accuracy:.3f}", refresh=False)
        state[title].update(seen - state[title].n)
        if seen == rows:
            state[title].close()

    try:
        yield show
    finally:
        for shown in state.values():
            shown.close()


def train(recipe: Recipe, data: Dataset, args: argparse.Namespace, device: torch.device, corpus: str) -> Classifier:
    """Trains one recipe."""
    vectors = None
    if recipe.training.vectors:
        path = find_vectors(recipe.training.vectors, cache_directory())
        vectors = read_vectors(path, data.vocabulary)
        if first():
            print(f"{path}: vectors for {len(vectors[0]):,} of {len(data.vocabulary):,} words.")
    with bar(recipe, recipe.training.epochs) if first() else nullcontext() as progress:
        classifier = fit(recipe, data, seed=args.seed, device=device, vectors=vectors, progress=progress)
    classifier.record["corpus"] = corpus
    return classifier


def first() -> bool:
    """Whether this process is the one that prints, saves and pushes."""
    return int(os.environ.get("RANK", "0")) == 0  # torchrun's; known before the processes have met


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def measure(args: argparse.Namespace) -> None:
    """Asks a saved classifier about its test rows, and stores what was found beside its weights."""
    classifier = load(args.measure, device=args.device)
    if classifier.source.kind == "hub":
        raise UserError(f"{args.measure} is not here: --measure takes a directory that holds a classifier.")
    record = classifier.record
    directory = Path(args.data) if args.data else download_ag_news()
    training = record.get("training")
    test = read_corpus(directory, repaired=not isinstance(training, dict) or training.get("repair") is not False).test
    digests = record.get("digests")
    if not isinstance(digests, dict) or digests.get("test") != test.digest():
        raise UserError(f"{directory} does not hold the test rows of {args.measure}: name its corpus with --data DIR.")
    torch.set_num_threads(1)  # steps this small only wait for a second thread
    print(f"Asking {args.measure} about its test rows; this takes minutes.", flush=True)
    rows = [("written", "test rows", "seconds", "bytes")]
    notes = {}
    for name, find in (
        (FINDINGS, partial(measure_findings, seed=args.seed)),
        (UNITS, measure_units),
    ):
        began = time.perf_counter()
        found = find(classifier, test.texts, test.classes)
        notes[name] = to_json(found)
        seconds = time.perf_counter() - began
        rows.append((str(Path(args.measure) / name), f"{found['rows']:,}", f"{seconds:.0f}", f"{len(notes[name]):,}"))
    annotate(classifier, notes)
    print(table(rows))


def run(args: argparse.Namespace) -> None:
    """Trains, saves and pushes what the command line names."""
    if args.measure is not None:
        if first():
            measure(args)
        return
    recipes = chosen_recipes(args)
    for recipe in recipes:  # known before the training, not after it
        require_replaceable(Path(args.out) / recipe.name)
    speed_up()
    device = start_processes(args.device)
    if args.data is None and first():
        download_ag_news()
    if dist.is_initialized():
        dist.barrier()
    directory = Path(args.data) if args.data else download_ag_news()
    prepared = Data(directory, args.seed, args.limit)
    for recipe in recipes:  # so that a corpus or file that is wrong is named before the first epoch
        if recipe.training.vectors:
            find_vectors(recipe.training.vectors, cache_directory())
    rows = [("recipe", "test accuracy", "parameters", "rows/s", "seconds", "saved")]
    for recipe in recipes:
        data = prepared.for_training(recipe.training)
        corpus = corpus_name(directory, data.labels)
        classifier = train(recipe, data, args, device, corpus)
        record = classifier.record
        if not first():
            if record["interrupted"]:
                break
            continue
        where = Path(args.out) / recipe.name
        save(classifier, where)
        saved = str(where)
        if record["interrupted"]:
            epoch = record["best_epoch"]
            kept = f"after epoch {epoch}, its best so far" if epoch else "when its first epoch was stopped"
            print(f"\nStopped: {recipe.name} is as it was {kept}.")
        if args.push_to_hub:
            try:
                saved = push(classifier, f"{args.push_to_hub}/{corpus}-{recipe.name}", private=args.private)
            except UserError as error:
                raise UserError(f"{error} The trained classifier is kept in {where}.") from error
        low, high = record["test"]["interval"]
        rows.append(
            (
                recipe.name,
                f"{record['test']['accuracy']:.2%} ({low:.1%} to {high:.1%})",
                f"{classifier.parameters:,}",
                f"{record['rows_per_second']:,}",
                f"{record['seconds']:.0f}",
                saved,
            )
        )
        if record["interrupted"]:
            break
    if first():
        print(f"\n{table(rows)}")


def start_processes(name: str) -> torch.device:
    """Joins the processes that torchrun started, if it did, and picks this one's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return pick_device(name)
    device = pick_device(name)
    if device.type == "cuda":
        device = pick_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def main() -> None:
    """Runs the command line; what a person did wrong ends in one sentence and exit code 1."""
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # the plain way, on which time and bytes are bounded
    args = arguments().parse_args()
    try:
        run(args)
    except UserError as error:
        if args.debug:
            raise
        if first():
            print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # on the way out already
        print("\nStopped.", file=sys.stderr)
        sys.exit(130)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


if __name__ == "__main__":
    main()
