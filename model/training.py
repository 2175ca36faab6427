"""Fitting and evaluating, in one process or under torchrun.

Under torchrun every process cuts the same global batch and takes every n-th row of it; gradients are summed over the
processes, so that n processes take the steps that one would.
"""

from __future__ import annotations

import copy
import ctypes
import math
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import get_ema_multi_avg_fn

from model.classifier import Classifier, predict_rows, wilson
from model.config import NetworkConfig, Recipe, TrainingConfig, UserError
from model.corpus import WINDOW, Dataset, EncodedRows, batches
from model.network import RecurrentNetwork
from model.optimizer import RowAdam
from model.text import TOKENIZER

Progress = Callable[[int, int, int, float, float], None]
"""Told now and then: epoch from 1, rows read of it, rows of an epoch, mean loss and accuracy of it so far."""


class Stop:
    """Whether the person asked to stop."""

    def __init__(self) -> None:
        self.asked = False


SAME = 1.0  # seconds within which torchrun hands on the Ctrl-C that the terminal has sent already


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Ctrl-C asks to stop at the next step; a second one stops at once.

    Under torchrun each one comes twice, from the terminal and from torchrun, which counts as one.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield stop
        return
    before = signal.getsignal(signal.SIGINT)
    first = -math.inf

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if stop.asked and (world()[1] == 1 or now - first > SAME):
            signal.default_int_handler(number, frame)
        if not stop.asked:
            stop.asked, first = True, now

    signal.signal(signal.SIGINT, ask)
    try:
        yield stop
        if stop.asked and world()[1] > 1:
            time.sleep(max(0.0, first + SAME - time.monotonic()))  # what torchrun hands on would else hit the saving
    finally:
        signal.signal(signal.SIGINT, before)


_KEEP = {-1: 2**30, -2: 2**28, -3: 2**25}  # mallopt's M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD (at its most)


def speed_up() -> None:
    """Settings of the whole process that make training faster and change no stored weight.

    For a program of its own that trains, before its first tensor is computed.
    """
    # Adam's moments of a rare word fade below the smallest normal float, where a CPU computes far more slowly.
    torch.set_flush_denormal(True)
    # Each step frees some tens of MB and takes them again. glibc gives large blocks back to the system, which then
    # clears every page anew: a tenth of an epoch.
    if platform.libc_ver()[0] == "glibc":
        for option, size in _KEEP.items():
            ctypes.CDLL(None).mallopt(option, size)


def world() -> tuple[int, int]:
    """This process's rank and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def evaluate(network: RecurrentNetwork, rows: EncodedRows) -> dict[str, Any]:
    """How well a network does.

    Returns:
        `loss` (mean cross-entropy, nats), `accuracy`, `interval` (Wilson, 95 %), `rows`, and `confusion`: for each
        true class (row) how often each class (column) was predicted.
    """
    network.eval()
    logits = predict_rows(network, rows)
    classes, predicted = rows.classes, logits.argmax(1)
    count = logits.shape[1]
    confusion = torch.bincount(classes * count + predicted, minlength=count * count).view(count, count)
    correct = int(confusion.trace())
    return {
        "loss": round(float(F.cross_entropy(logits, classes)), 4),
        "accuracy": correct / len(rows),
        "interval": wilson(correct, len(rows)),
        "rows": len(rows),
        "confusion": confusion.tolist(),
    }


def fit(
    recipe: Recipe,
    data: Dataset,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    vectors: tuple[Tensor, Tensor] | None = None,
    progress: Progress | None = None,
) -> Classifier:
    """Trains a classifier; the validation rows choose the epoch, the test rows are read once, at the end.

    Args:
        recipe: what to train and how.
        data: the encoded corpus.
        seed: draws the weights, the order of the rows and what is dropped.
        device: where to compute.
        vectors: pretrained word vectors, as `model.text.read_vectors` returns them.
        progress: told how far it is.

    Returns:
        The classifier of the best epoch, its weights rounded to half precision as they are stored. Interrupted, the
        best epoch so far, or the weights as they stand when no epoch was whole (`record["best_epoch"]` is 0);
        `record["interrupted"]` says so.

    Raises:
        UserError: the loss is no longer a number.
        KeyboardInterrupt: Ctrl-C came twice.
    """
    device, training = torch.device(device), recipe.training
    torch.manual_seed(seed)
    network = RecurrentNetwork(_sized(recipe.network, data, vectors))
    if vectors is not None:
        _start_from(network, vectors)
    network.to(device)
    train, validation, test = (rows.to(device) for rows in (data.train, data.validation, data.test))
    rank, processes = world()
    torch.manual_seed(seed * processes + rank)  # each process drops other features

    curves: list[dict[str, Any]] = []
    best: dict[str, Tensor] = {}
    best_epoch, best_score, seconds = 0, -1.0, 0.0
    with interruptible() as stop:
        run = _Run(network, train, training, seed, stop, progress)
        for epoch in range(1, training.epochs + 1):
            began = time.perf_counter()
            loss, accuracy = run.epoch(epoch)
            seconds += time.perf_counter() - began
            if run.cut_short and best:
                break
            point = {"epoch": epoch, "train_loss": round(loss, 4), "train_accuracy": round(accuracy, 4)}
            score = float(epoch)
            if len(validation):
                held_out = evaluate(run.kept, validation)
                score = held_out["accuracy"]
                point |= {"validation_loss": held_out["loss"], "validation_accuracy": round(score, 4)}
            curves.append(point)
            if score >= best_score:
                best_epoch, best_score = 0 if run.cut_short else epoch, score
                best = {name: weight.detach().clone() for name, weight in run.kept.state_dict().items()}
            if run.stopping:
                break
        interrupted = run.cut_short or (run.stopping and epoch < training.epochs)
    # Rounded as they are stored: what is evaluated, saved and loaded are the same numbers.
    network.load_state_dict({name: weight.half().float() for name, weight in best.items()})
    network.eval()
    record = {
        "recipe": recipe.name,
        "summary": recipe.summary,
        "seed": seed,
        "interrupted": interrupted,
        "best_epoch": best_epoch,
        "curves": curves,
        "test": evaluate(network, test),
        "rows": {"train": len(train), "validation": len(validation), "test": len(test)},
        "digests": data.digests,
        "tokenizer": TOKENIZER,
        "training": asdict(training),
        "seconds": round(seconds, 1),
        "rows_per_second": round(run.rows_read / seconds),
        "device": str(device),
        "processes": processes,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    return Classifier(network, data.vocabulary, data.labels, record)


class _Run:
    """The state of one training: weights, optimiser, schedule, order of the rows."""

    def __init__(
        self,
        network: RecurrentNetwork,
        train: EncodedRows,
        training: TrainingConfig,
        seed: int,
        stop: Stop,
        progress: Progress | None,
    ) -> None:
        self.network, self.train, self.training = network, train, training
        self.stop, self.progress = stop, progress
        self.stopping = False  # asked to stop, as all processes know since the last step
        self.cut_short = False  # stopped within an epoch
        self.rows_read = 0
        # Where padding is read, rows of one length together would hide the flaw that is to be shown.
        self.window = 1 if network.config.padding == "read" else WINDOW
        self.generator = torch.Generator().manual_seed(seed)
        self.steps = 0
        self.average = copy.deepcopy(network) if training.average_decay else None
        self.words = None
        if training.lazy:
            average = None if self.average is None else self.average.embedding.weight
            self.words = RowAdam(network.embedding.weight, training.weight_decay, average, training.average_decay)
        self.weights = self._others(network)
        self.averages = [] if self.average is None else self._others(self.average)
        self.optimizer = torch.optim.AdamW(
            self.weights, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        self.schedule = None
        if training.schedule == "one-cycle":
            steps = training.epochs * -(-len(train) // training.batch_size)
            self.schedule = torch.optim.lr_scheduler.OneCycleLR(
                self.optimizer,
                max_lr=training.learning_rate,
                total_steps=max(2, steps),
                pct_start=training.warmup,
                cycle_momentum=False,
            )

    def _others(self, network: RecurrentNetwork) -> list[nn.Parameter]:
        """The weights that `words` does not train: each step reads all of them."""
        words = network.embedding.weight if self.words is not None else None
        return [weight for weight in network.parameters() if weight is not words]

    @property
    def kept(self) -> RecurrentNetwork:
        """The network that counts, up to date: the moving average of the weights where one is taken."""
        if self.words is not None:
            self.words.settle()
        return self.network if self.average is None else self.average

    def epoch(self, number: int) -> tuple[float, float]:
        """One pass over the rows.

        Returns:
            Mean loss and accuracy over the rows as they were read, in nats and as a share.
        """
        self.network.train()
        sums = torch.zeros(2, device=self.train.lengths.device)  # loss, correct; this process's rows
        seen, mean = 0, [0.0, 0.0]
        for index, rows in enumerate(batches(self.train, self.training.batch_size, self.generator, self.window)):
            sums += self.step(rows)
            seen += len(rows)
            self.cut_short = self.stopping and seen < len(self.train)
            if index % 20 == 19 or seen == len(self.train) or self.stopping:
                mean = (_over_processes(sums) / seen).tolist()
                if not math.isfinite(mean[0]):
                    raise UserError(f"The loss is {mean[0]} in epoch {number}: lower the learning rate with --lr.")
                if self.progress is not None:
                    self.progress(number, seen, len(self.train), *mean)
            if self.stopping:
                break
        self.rows_read += seen
        return mean[0], mean[1]

    def step(self, rows: Tensor) -> Tensor:
        """One step of the optimiser on a global batch.

        Args:
            rows: `(B,)` indices, the same in every process.

        Returns:
            `(2,)`: summed loss and number of correct answers over this process's share.
        """
        rank, processes = world()
        # All processes cut the whole batch: padding that is read is then the same in each, and so are the words that
        # are trained.
        tokens, lengths, classes = self.train.batch(rows)
        vectors: Tensor = self.network.embedding.weight
        if self.words is not None:
            vectors, tokens = self.words.read(tokens)
        tokens, lengths, classes = (x[rank::processes] for x in (tokens, lengths, classes))
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(2, device=rows.device)
        if len(classes):
            logits = functional_call(self.network, {"embedding.weight": vectors}, (tokens, lengths))
            loss = F.cross_entropy(logits, classes, reduction="sum", label_smoothing=self.training.label_smoothing)
            (loss / len(rows)).backward()
            sums = torch.stack([loss.detach(), (logits.argmax(1) == classes).sum()])
        trained = self.weights if self.words is None else [*self.weights, vectors]
        # Processes stop at the same step, whichever of them was asked, or the others would wait for ever.
        self.stopping = self.stop.asked
        if processes > 1:
            self.stopping = _sum_gradients(trained, self.stopping)
        self.update(trained)
        return sums

    def update(self, trained: Sequence[Tensor]) -> None:
        """Takes the step, along gradients that are summed already."""
        if self.training.clip_norm:
            torch.nn.utils.clip_grad_norm_(trained, self.training.clip_norm)
        if self.words is not None:
            self.words.step(self.optimizer.param_groups[0]["lr"])
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        if self.average is not None:  # it starts as the weights are after the first step
            decay = self.training.average_decay if self.steps else 0.0
            get_ema_multi_avg_fn(decay)(self.averages, self.weights, self.steps)
        self.steps += 1


def _over_processes(sums: Tensor) -> Tensor:
    if world()[1] == 1:
        return sums
    sums = sums.clone()
    dist.all_reduce(sums)
    return sums


def _sum_gradients(weights: Sequence[Tensor], stop: bool) -> bool:
    """Sums the gradients over the processes; whether any of them was asked to stop travels along."""
    gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    flag = torch.full((1,), float(stop), device=gradients[0].device)
    flat = torch.cat([g.flatten() for g in gradients] + [flag])
    dist.all_reduce(flat)
    *summed, flag = flat.split([g.numel() for g in gradients] + [1])
    for weight, gradient in zip(weights, summed, strict=True):
        weight.grad = gradient.view_as(weight)
    return bool(flag.item())


def _sized(config: NetworkConfig, data: Dataset, vectors: tuple[Tensor, Tensor] | None) -> NetworkConfig:
    """The architecture, sized for a corpus and for the vectors it starts from."""
    size = config.embedding_dim if vectors is None else vectors[1].shape[1]
    return replace(config, embedding_dim=size, vocabulary_size=len(data.vocabulary), num_classes=len(data.labels))


@torch.no_grad()
def _start_from(network: RecurrentNetwork, vectors: tuple[Tensor, Tensor]) -> None:
    """Pretrained vectors for the words found; the others keep their random ones, at the pretrained scale."""
    indices, values = vectors
    network.embedding.weight.mul_(values.std())
    network.embedding.weight[indices] = values
