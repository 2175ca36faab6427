"""Trace: all that one sentence does to one classifier, and its form for the browser.

Shapes: T tokens, H hidden units, C classes.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lens import measures
from lens.unroll import unroll
from model.classifier import Classifier
from model.config import UserError
from model.network import read_out, read_out_prefixes
from model.text import Token

# The gate that says how much of its old state a unit keeps: the LSTM's forget gate; the GRU's update gate z itself,
# for h = (1 - z) n + z h.
_KEEPING = {"lstm": "forget", "gru": "update"}

_LEVELS = 127  # a matrix is sent in whole steps from -127 to 127
_NOT_A_NUMBER = -128
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Trace:
    """All that one sentence does to one classifier. Tensors are float32 on the CPU, without gradient.

    Of an empty sentence T is 0 and the logits are the bias; `settled`, `slope` and `half_life` are then None.
    A field that this cell does not have is None for every sentence.

    Attributes:
        labels: C names of classes.
        target: index of the class that gradients and the order of units are about.
        predicted: index of the class with the largest logit.
        tokens: T, each with its place in what was typed.
        truncated: how many tokens were cut off after them.
        hidden: `(T, H)`, h_t.
        cell: `(T, H)`, c_t, or None.
        gates: name -> `(T, H)`; LSTM: input, forget, candidate, output; GRU: reset, update, candidate; RNN: none.
        probabilities: `(T, C)`, the verdict if the sentence stopped at t.
        logits: `(C,)`.
        bias: `(C,)`, the linear layer's: the logits before anything is read.
        settled: index from 0 of the first token after which the verdict never changes.
        gradient_norm: `(T,)`, |d z_target / d h_t|_2 with c_t held, z the logit.
        cell_gradient_norm: `(T,)`, |d z_target / d c_t|_2, through h_t too, or None.
        slope: decades per token of `gradient_norm`; None where fewer than two values can be fitted.
        slope_left_out: how many values the fit left out because they are zero.
        contribution: `(T, C)`, exact ledger of the state's changes (`measures.ledger`); sums to logits - bias.
        cell_contribution: `(T, C)`, what each token wrote into the cell (`measures.cell_ledger`); same sums; or None.
        survival: `(T, 3)`, quartiles over units of the product of the later keeping gates, or None.
        half_life: tokens, infinite where every gate is 1; or None.
        order: `(H,)` int64, units by |W[target, u] r_u|, largest first, r the state that the verdict reads (h_T where
            the readout is "last").
    """

    labels: tuple[str, ...]
    target: int
    predicted: int
    tokens: tuple[Token, ...]
    truncated: int
    hidden: Tensor
    cell: Tensor | None
    gates: dict[str, Tensor]
    probabilities: Tensor
    logits: Tensor
    bias: Tensor
    settled: int | None
    gradient_norm: Tensor
    cell_gradient_norm: Tensor | None
    slope: float | None
    slope_left_out: int
    contribution: Tensor
    cell_contribution: Tensor | None
    survival: Tensor | None
    half_life: float | None
    order: Tensor

    def to_payload(self) -> dict[str, Any]:
        """What the browser draws: lists, numbers, strings and None, safe for every JSON encoder.

        ::

            labels              [C strings]
            target, predicted   class indices
            tokens              [T of {text, source, start, end, known}]; start and end in code points of the typed text
            truncated           tokens cut off
            units               H
            hidden              matrix (T, H)
            cell                matrix (T, H), or null
            gates               {name: matrix (T, H)}, empty for the RNN
            probabilities       [T of [C]], 0 to 1
            logits, bias        [C]
            settled             token index from 0, or null for no token
            gradient_norm       [T]
            cell_gradient_norm  [T], or null
            slope               decades per token, or null
            slope_left_out      values without a logarithm
            contribution        [T of [C]]
            cell_contribution   [T of [C]], or null
            survival            [T of [lower quartile, median, upper quartile]], or null
            half_life           tokens; null where there is no keeping gate, no token, or no end (all gates 1)
            order               [H unit indices]

        A matrix is `{"shape": [T, H], "scale": number, "data": base64 of T * H int8, row by row}`; a value is
        `data * scale`, scale = largest magnitude / 127, so it is off by at most scale / 2: 0.4 % of the largest
        magnitude. -128 stands for what is not a finite number. Other numbers are rounded to 4 significant digits;
        one that is not finite is null. A lone surrogate in a text is sent as U+FFFD.
        """
        return {
            "labels": [plain_text(label) for label in self.labels],
            "target": self.target,
            "predicted": self.predicted,
            "tokens": [
                {
                    "text": plain_text(token.text),
                    "source": plain_text(token.source),
                    "start": token.start,
                    "end": token.end,
                    "known": token.known,
                }
                for token in self.tokens
            ],
            "truncated": self.truncated,
            "units": self.hidden.shape[1],
            "hidden": matrix_payload(self.hidden),
            "cell": None if self.cell is None else matrix_payload(self.cell),
            "gates": {name: matrix_payload(gate) for name, gate in self.gates.items()},
            "probabilities": rounded(self.probabilities),
            "logits": rounded(self.logits),
            "bias": rounded(self.bias),
            "settled": self.settled,
            "gradient_norm": rounded(self.gradient_norm),
            "cell_gradient_norm": rounded(self.cell_gradient_norm),
            "slope": rounded(self.slope),
            "slope_left_out": self.slope_left_out,
            "contribution": rounded(self.contribution),
            "cell_contribution": rounded(self.cell_contribution),
            "survival": rounded(self.survival),
            "half_life": rounded(self.half_life),
            "order": self.order.tolist(),
        }


def trace(classifier: Classifier, text: str, target: str | None = None, silenced: Sequence[int] = ()) -> Trace:
    """Reads a sentence and keeps everything: one pass forward, one back.

    Args:
        classifier: any cell and readout.
        text: what was typed; at most `MAX_TOKENS` of its tokens are read.
        target: the label that gradients and the order of units are about; None means the predicted one.
        silenced: units whose h is held at zero at every step; all that the trace says is then without them.

    Returns:
        The trace.

    Raises:
        UserError: there is no such label, or the classifier reads padding as words.
    """
    chosen = None if target is None else target_index(classifier, target)
    tokens, truncated, vectors = read_sentence(classifier, text)
    network = classifier.network
    readout, weight = network.config.readout, network.linear.weight.detach()
    heard = torch.ones_like(weight[0]).index_fill_(0, torch.tensor(silenced, dtype=torch.int64).to(weight.device), 0.0)
    weight = weight * heard  # what a silenced unit's cell holds is not read either

    with torch.enable_grad():
        unrolled = unroll(network.recurrence, vectors.requires_grad_(), silenced)
        length = torch.tensor([len(tokens)], device=vectors.device)
        state = vectors.new_zeros(weight.shape[1])  # an empty sentence is the zero state
        if tokens:
            state = read_out(unrolled.hidden.unsqueeze(0), length, readout)[0]
        logits = network.linear(state)  # (C,)
        predicted = int(logits.argmax())
        chosen = predicted if chosen is None else chosen
        steps = [*unrolled.hidden_steps, *unrolled.cell_steps]
        gradients = torch.autograd.grad(logits[chosen], steps) if steps else ()

    with torch.no_grad():
        hidden = unrolled.hidden.detach()
        cell = None if unrolled.cell is None else unrolled.cell.detach()
        gates = {name: gate.detach() for name, gate in unrolled.gates.items()}
        size = hidden.shape[1]
        stacked = torch.cat(gradients) if gradients else hidden.new_zeros(0, size)  # (T or 2 T, H)
        gradient_norm = measures.norms(stacked[: len(tokens)] * heard)
        fitted, left_out = measures.slope(gradient_norm)
        probabilities = network.linear(read_out_prefixes(hidden, readout)).softmax(1)
        keeping = gates.get(_KEEPING.get(network.config.cell, ""))
        cell_contribution = None
        if cell is not None:
            cell_contribution = measures.cell_ledger(
                cell, gates["forget"], gates["output"], measures.read_steps(hidden, readout), weight
            )
        return Trace(
            labels=tuple(classifier.labels),
            target=chosen,
            predicted=predicted,
            tokens=tuple(tokens),
            truncated=truncated,
            hidden=_kept(hidden),
            cell=None if cell is None else _kept(cell),
            gates={name: _kept(gate) for name, gate in gates.items()},
            probabilities=_kept(probabilities),
            logits=_kept(logits),
            bias=_kept(network.linear.bias),
            settled=measures.settled(probabilities.argmax(1)),
            gradient_norm=_kept(gradient_norm),
            cell_gradient_norm=None if cell is None else _kept(measures.norms(stacked[len(tokens) :])),
            slope=fitted,
            slope_left_out=left_out,
            contribution=_kept(measures.ledger(hidden, weight, readout)),
            cell_contribution=None if cell_contribution is None else _kept(cell_contribution),
            survival=None if keeping is None else _kept(measures.survival(keeping)),
            half_life=None if keeping is None else measures.half_life(keeping),
            order=(weight[chosen] * state).abs().argsort(descending=True, stable=True).cpu(),
        )


def target_index(classifier: Classifier, target: str | None) -> int:
    """The index of a label.

    Raises:
        UserError: there is no such label.
    """
    if target not in classifier.labels:
        raise UserError(f"There is no class {target!r}; this classifier's are {', '.join(classifier.labels)}.")
    return classifier.labels.index(target)


def read_sentence(classifier: Classifier, text: str) -> tuple[list[Token], int, Tensor]:
    """The tokens of a sentence and their vectors, without dropout.

    Returns:
        T tokens, how many were cut off, and `(T, E)` on the classifier's device, without gradient.

    Raises:
        UserError: the classifier reads padding as words, so that what it says depends on more than the sentence.
    """
    if classifier.network.config.padding == "read":
        raise UserError(
            "This classifier reads padding as words, so its verdict depends on the longest text beside a sentence: "
            "train one with a recipe that ignores padding to look inside."
        )
    tokens, truncated = classifier.read(text)
    indices = classifier.vocabulary.encode(token.text for token in tokens)
    with torch.no_grad():
        vectors = classifier.network.embedding(torch.tensor(indices, dtype=torch.int64, device=classifier.device))
    return tokens, truncated, vectors


def _kept(values: Tensor) -> Tensor:
    return values.detach().float().cpu()


def plain_text(text: str) -> str:
    """`text` as UTF-8 can carry it."""
    return _SURROGATES.sub("\ufffd", text)


def rounded(values: Tensor | list[Any] | float | None) -> Any:
    """Numbers for JSON, to 4 significant digits, in nested lists as the tensor's shape has them; None as it is."""
    if isinstance(values, Tensor):
        values = values.tolist()
    if isinstance(values, list):
        return [rounded(value) for value in values]
    if values is None or not math.isfinite(values):
        return None
    return float(f"{values:.4g}")


def matrix_payload(values: Tensor) -> dict[str, Any]:
    """A matrix in one byte a number, as `Trace.to_payload` describes it.

    Args:
        values: `(T, H)`.
    """
    finite = values.isfinite()
    largest = float(torch.where(finite, values, 0.0).abs().max()) if values.numel() else 0.0
    scale = largest / _LEVELS
    steps = torch.where(finite, (values.double() / (scale or 1.0)).round(), float(_NOT_A_NUMBER))
    data = steps.to(torch.int8).contiguous().numpy().tobytes()
    return {"shape": list(values.shape), "scale": scale, "data": base64.b64encode(data).decode("ascii")}
