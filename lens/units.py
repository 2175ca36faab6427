"""What each hidden unit responds to, and the plane in which the state moves.

Measured once on test texts (`lens.unit_measures`) and stored with the classifier as `units.json`. The texts themselves
are not stored: only windows of a few words around a unit's peaks.

::

    format        1
    rows          how many test rows were read
    tokens        how many states these are
    accuracy      share of right answers with all units
    units         [H of {
        windows      [strongest first, of {tokens: [at most 8 strings], peak: index in them, value: h there,
                     class: index of the right answer}]
        class        index of the preferred class
        selectivity  -1 to 1, see `lens.unit_measures.selectivities`
        saturated    {gate: [share of tokens below 0.1, above 0.9]} (Karpathy et al. 2015); LSTM: input, forget, output;
                     GRU: reset, update; RNN: none
        accuracy     share of right answers without the unit}]
    plane         {mean: [H], components: [2 of [H]], shares: [of the variance, up to 10, largest first],
                   participation: in dimensions, ends: [C of [x, y]], the mean final state of each class's rows}

Shapes: B batch, T tokens, H hidden units, C classes, N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lens.asking import Result, plain
from lens.notes import Form, load_note
from lens.trace import Trace, trace
from model.classifier import Classifier
from model.config import UserError

FORMAT = 1
UNITS = "units.json"
LARGEST = 10**6  # bytes

WINDOWS = 8  # passages of a unit
WORDS, AFTER = 8, 2  # of a passage; and how many of them stand after the peak: a state knows what came before
SHARES = 10  # of the variance that are stored
GATES = {"rnn": (), "lstm": ("input", "forget", "output"), "gru": ("reset", "update")}


def load_units(classifier: Classifier) -> dict[str, Any] | None:
    """The units that lie beside a classifier's weights; None where none do.

    Raises:
        UserError: the file is damaged, of another format, or about another classifier.
    """
    hidden, classes = classifier.network.config.hidden_dim, len(classifier.labels)
    found = load_note(classifier, UNITS, form(classifier.network.config.cell, hidden, classes), FORMAT, LARGEST)
    if found is not None:
        windows = [window for unit in found["units"] for window in unit["windows"]]
        indices = [*(window["class"] for window in windows), *(unit["class"] for unit in found["units"])]
        wrong = any(
            len(window["tokens"]) > WORDS or not 0 <= window["peak"] < len(window["tokens"]) for window in windows
        )
        if wrong or not all(0 <= index < classes for index in indices):
            raise UserError(f"{classifier.source.name}/{UNITS}: an index points nowhere; measure again.")
    return found


def form(cell: str, hidden: int, classes: int) -> Form:
    """What `units.json` must be, for a cell, a number of units and a number of classes."""
    window = {"tokens": [str], "peak": int, "value": float, "class": int}
    unit = {
        "windows": [window],
        "class": int,
        "selectivity": float,
        "saturated": {gate: [float, 2] for gate in GATES[cell]},
        "accuracy": float,
    }
    plane = {
        "mean": [float, hidden],
        "components": [[float, hidden], 2],
        "shares": [float, min(SHARES, hidden)],
        "participation": float,
        "ends": [([float, 2], None), classes],
    }
    return {
        "format": int,
        "rows": int,
        "tokens": int,
        "accuracy": float,
        "units": [unit, hidden],
        "plane": plane,
    }


# ------------------------------------------------------------------------------------------------ asking about a unit


def silence(classifier: Classifier, text: str, unit: int, target: str | None = None) -> Trace:
    """The trace of a sentence without one unit: its h is zero at every step, so neither the readout nor the next step
    sees it. What the other units do about it is in the trace; what a network trained without it would do is not.

    Raises:
        UserError: there is no such unit or label, or the classifier reads padding as words.
    """
    _require_unit(classifier, unit)
    return trace(classifier, text, target, silenced=(unit,))


def unit_payload(classifier: Classifier, units: dict[str, Any], unit: int) -> dict[str, Any]:
    """What was measured about a unit, and `readout`: its C weights in the readout, in logits.

    Args:
        classifier: the one that has it.
        units: what `load_units` returned for it.
        unit: index from 0.

    Raises:
        UserError: there is no such unit.
    """
    _require_unit(classifier, unit)
    readout = classifier.network.linear.weight.detach()[:, unit].tolist()
    return units["units"][unit] | {"unit": unit, "readout": plain(readout)}


def _require_unit(classifier: Classifier, unit: int) -> None:
    size = classifier.network.config.hidden_dim
    if not 0 <= unit < size:
        raise UserError(f"There is no unit {unit}; this classifier's are 0 to {size - 1}.")


@dataclass(frozen=True)
class Trajectory(Result):
    """The path of a sentence through the plane in which states differ most.

    Attributes:
        labels: C names of classes.
        points: T + 1 of (x, y), from the state before the first token.
        readouts: C of (x, y), the direction in which each class's logit grows; in logits per unit of the plane.
        ends: C of (x, y), the mean final state of each class's test rows, or None for a class without rows.
        shares: of the variance of test states along x and along y.
        participation: (sum of variances)² / sum of squared variances: in how many dimensions the states vary, from 1
            to H. Classifiers of C classes integrate evidence in about C - 1 (Aitken et al. 2020, arXiv 2010.15114).
    """

    labels: tuple[str, ...]
    points: tuple[tuple[float, ...], ...]
    readouts: tuple[tuple[float, ...], ...]
    ends: tuple[tuple[float, ...] | None, ...]
    shares: tuple[float, ...]
    participation: float

    def rows(self) -> list[list[Any]]:
        """A row for each point."""
        return [["tokens read", "x", "y"], *([t, *point] for t, point in enumerate(self.points))]


def project(classifier: Classifier, units: dict[str, Any], found: Trace) -> Trajectory:
    """The path of h_t in the plane of the two strongest principal components of test states.

    What the plane leaves out, `shares` says; two states that meet in it may be far apart.

    Args:
        classifier: the one that was traced.
        units: what `load_units` returned for it.
        found: the trace.
    """
    plane = units["plane"]
    components = torch.tensor(plane["components"])  # (2, H)
    states = torch.cat([torch.zeros(1, found.hidden.shape[1]), found.hidden])
    points = (states - torch.tensor(plane["mean"])) @ components.t()
    readouts = classifier.network.linear.weight.detach().float().cpu() @ components.t()
    return Trajectory(
        labels=classifier.labels,
        points=tuple(map(tuple, points.tolist())),
        readouts=tuple(map(tuple, readouts.tolist())),
        ends=tuple(None if end is None else tuple(end) for end in plane["ends"]),
        shares=tuple(plane["shares"][:2]),
        participation=plane["participation"],
    )
