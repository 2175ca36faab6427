"""Measures what `lens.units` stores: peaks, selectivity, saturation, accuracy without a unit, and the plane.

Shapes: B batch, T tokens, H hidden units, C classes, N rows.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lens.asking import plain
from lens.notes import to_json
from lens.trace import plain_text, read_sentence
from lens.units import AFTER, FORMAT, GATES, LARGEST, SHARES, WINDOWS, WORDS
from lens.unroll import unroll
from model.classifier import PREDICT_BATCH, Classifier
from model.corpus import EncodedRows
from model.network import RecurrentNetwork, read_out
from model.text import MAX_TOKENS, tokenize

LOW, HIGH = 0.1, 0.9  # a gate beyond is saturated
_LONGEST_WORD = 40  # characters; the rest of a longer one is cut
_CANDIDATES = 8 * WINDOWS  # rows looked at for windows that differ


@torch.no_grad()
def measure_units(classifier: Classifier, texts: Sequence[str], classes: Sequence[int]) -> dict[str, Any]:
    """Reads test rows and keeps what each unit does.

    Args:
        classifier: any cell and readout.
        texts: the test rows, at least one.
        classes: the right answer of each.

    Returns:
        What `units.json` holds, in less than 1 MB: where there are too many units for that, with fewer windows each.

    Raises:
        UserError: the classifier reads padding as words.
    """
    read_sentence(classifier, "")  # refuses one that reads padding
    network = classifier.network.eval()
    words = [tokenize(text)[:MAX_TOKENS] for text in texts]
    rows = EncodedRows.encode(words, classes, classifier.vocabulary).to(classifier.device)
    found = _read(network, rows)
    ends, peaks, steps = found["ends"], found["peaks"], found["steps"]
    selectivity = selectivities(ends, rows.classes.cpu(), len(classifier.labels))  # (H, C)
    preferred = selectivity.abs().argmax(1)
    accuracies = accuracies_without(network, rows)
    taken: dict[int, int] = {}
    whole = {
        "format": FORMAT,
        "rows": len(rows),
        "tokens": found["count"],
        "accuracy": float((network.linear(ends.to(rows.lengths.device)).argmax(1) == rows.classes).double().mean()),
        "units": [
            {
                "windows": windows(peaks[:, unit], steps[:, unit], words, classes, taken),
                "class": int(preferred[unit]),
                "selectivity": float(selectivity[unit, preferred[unit]]),
                "saturated": {name: share[unit].tolist() for name, share in found["saturated"].items()},
                "accuracy": accuracies[unit],
            }
            for unit in range(network.config.hidden_dim)
        ],
        "plane": _plane(found, ends, rows.classes.cpu(), len(classifier.labels)),
    }
    whole = plain(whole)
    kept = WINDOWS
    while len(to_json(whole)) >= LARGEST and kept:
        kept //= 2
        for unit in whole["units"]:
            unit["windows"] = unit["windows"][:kept]
    return whole


def _read(network: RecurrentNetwork, rows: EncodedRows) -> dict[str, Any]:
    """One pass over all rows.

    Returns:
        ends `(N, H)`, the state that each verdict reads; peaks `(N, H)`, each unit's h of the largest magnitude in the
        row, 0 in an empty one; steps `(N, H)`, where; saturated, gate -> `(H, 2)`; count, total `(H,)` and products
        `(H, H)` over all states, float64. On the CPU.
    """
    size, device = network.config.hidden_dim, rows.lengths.device
    ends, peaks = torch.zeros(len(rows), size), torch.zeros(len(rows), size)
    steps = torch.zeros(len(rows), size, dtype=torch.int64)
    beyond = {name: torch.zeros(size, 2, device=device) for name in GATES[network.config.cell]}
    # Doubles on the CPU: not every accelerator has them.
    count, total, products = 0, torch.zeros(size).double(), torch.zeros(size, size).double()
    for part in rows.lengths.argsort(stable=True).split(PREDICT_BATCH):
        tokens, lengths, _ = rows.batch(part)
        unrolled = unroll(network.recurrence, network.embedding(tokens))
        hidden = unrolled.hidden
        inside = torch.arange(tokens.shape[1], device=device) < lengths.unsqueeze(1)  # (B, T)
        at = part.cpu()
        ends[at] = read_out(hidden, lengths, network.config.readout).cpu()
        hidden = hidden * inside.unsqueeze(2)
        where = hidden.abs().max(1, keepdim=True).indices
        peaks[at], steps[at] = hidden.gather(1, where)[:, 0].cpu(), where[:, 0].cpu()
        states = hidden[inside].cpu().double()  # (states, H)
        count += len(states)
        total += states.sum(0)
        products += states.t() @ states
        for name, share in beyond.items():
            gate = unrolled.gates[name][inside]
            share += torch.stack([(gate < LOW).sum(0), (gate > HIGH).sum(0)], 1)
    saturated = {name: (share / max(1, count)).cpu() for name, share in beyond.items()}
    return {
        "ends": ends,
        "peaks": peaks,
        "steps": steps,
        "saturated": saturated,
        "count": count,
        "total": total,
        "products": products,
    }


def windows(
    peaks: Tensor, steps: Tensor, words: Sequence[Sequence[str]], classes: Sequence[int], taken: dict[int, int]
) -> list[dict[str, Any]]:
    """The passages in which a unit is most active, of different rows and in different words.

    Args:
        peaks: `(N,)`, its h of the largest magnitude in each row.
        steps: `(N,)`, where that is.
        words: N rows of tokens.
        classes: N.
        taken: row -> where its window begins, for the units before and this one: a row gives one window and no other,
            so that no two can be put together to more of it.

    Returns:
        At most `WINDOWS`, the strongest first; each at most `WORDS` words long.
    """
    found: list[dict[str, Any]] = []
    for row in peaks.abs().argsort(descending=True, stable=True)[:_CANDIDATES].tolist():
        step = int(steps[row])
        start = max(0, min(step - (WORDS - 1 - AFTER), len(words[row]) - WORDS))
        tokens = [plain_text(word[:_LONGEST_WORD]) for word in words[row][start : start + WORDS]]
        if tokens and taken.get(row, start) == start and all(tokens != other["tokens"] for other in found):
            taken[row] = start
            found.append(
                {"tokens": tokens, "peak": step - start, "value": float(peaks[row]), "class": int(classes[row])}
            )
        if len(found) == WINDOWS:
            break
    return found


def selectivities(values: Tensor, classes: Tensor, count: int) -> Tensor:
    """How well a unit's value alone tells each class from all others: the rank-biserial correlation (Cureton 1956).

    2 AUC - 1, where AUC is the chance that a row of the class has a higher value than a row of another (Mann and
    Whitney 1947; ties count half). 1: all of the class lie above all others; -1: below; 0: nothing to tell. Ranks,
    because a unit's sign and scale mean nothing by themselves, where the index of Morcos et al. 2018 needs activations
    that are not negative. A selective unit need not matter (they show that, too): see the accuracy without it.

    Args:
        values: `(N, H)`.
        classes: `(N,)`.
        count: C.

    Returns:
        `(H, C)` float64; 0 for a class of no rows, or of all.
    """
    columns = values.t().contiguous()  # (H, N)
    ordered = columns.sort(1).values
    below = torch.searchsorted(ordered, columns)
    up_to = torch.searchsorted(ordered, columns, right=True)
    ranks = (below + up_to + 1).double() / 2  # (H, N), from 1, the mean rank where values are equal
    member = torch.nn.functional.one_hot(classes, count).double()  # (N, C)
    rows = member.sum(0)
    wins = ranks @ member - rows * (rows + 1) / 2
    against = rows * (len(classes) - rows)
    return torch.where(against > 0, 2 * wins / against.clamp(min=1) - 1, 0.0)


@torch.no_grad()
def accuracies_without(network: RecurrentNetwork, rows: EncodedRows) -> list[float]:
    """The accuracy without each unit: its h is zero at every step, for the readout and the next step alike.

    Returns:
        H shares.
    """
    size = network.config.hidden_dim
    silenced = copy.deepcopy(network)
    columns = [silenced.recurrence.all_weights[0][1], silenced.linear.weight]  # what reads a unit
    correct = torch.zeros(size, device=rows.lengths.device)
    for part in rows.lengths.argsort(stable=True).split(PREDICT_BATCH):
        tokens, lengths, classes = rows.batch(part)
        vectors = network.embedding(tokens)
        for unit in range(size):
            kept = [weight[:, unit].clone() for weight in columns]
            for weight in columns:
                weight[:, unit] = 0.0  # a unit that nobody reads; `unroll` without it would take twice as long
            correct[unit] += (silenced.classify(vectors, lengths).argmax(1) == classes).sum()
            for weight, column in zip(columns, kept, strict=True):
                weight[:, unit] = column
    return (correct.double() / len(rows)).tolist()


def _plane(found: dict[str, Any], ends: Tensor, classes: Tensor, count: int) -> dict[str, Any]:
    """The two strongest principal components of all states, and how many dimensions the states take."""
    mean = found["total"] / max(1, found["count"])
    variances, components = principal(found["products"] / max(1, found["count"]) - torch.outer(mean, mean))
    total = float(variances.sum())
    plane = components[:2]
    if len(plane) < 2:
        plane = torch.cat([plane, torch.zeros_like(plane)])
    means = [ends[classes == index].double().mean(0) if (classes == index).any() else None for index in range(count)]
    return {
        "mean": mean.tolist(),
        "components": plane.tolist(),
        "shares": (variances[:SHARES] / (total or 1.0)).tolist(),
        "participation": participation(variances),
        "ends": [None if end is None else ((end - mean) @ plane.t()).tolist() for end in means],
    }


def principal(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Principal components.

    Args:
        covariance: `(H, H)`.

    Returns:
        Variances `(H,)`, largest first, and directions `(H, H)`, one a row, each with the sign that makes its largest
        entry positive.
    """
    variances, directions = torch.linalg.eigh(covariance)
    variances, directions = variances.flip(0).clamp(min=0), directions.t().flip(0)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return variances, directions * largest.sign()


def participation(variances: Tensor) -> float:
    """(sum)² / sum of squares: H where all are equal, 1 where only one is not zero; 0 where all are."""
    squares = float((variances * variances).sum())
    return float(variances.sum()) ** 2 / squares if squares else 0.0
