"""The trace's numbers, each as a pure function on tensors.

A readout is written as the mean over K of states h at certain steps, chosen unit by unit ("ends", `(K, H)`): the last
state (K = 1), each of the states (mean, K = T), or the step of each unit's maximum (max, K = 1). Every readout's
ledgers follow from that one form.

Shapes: T tokens, H hidden units, C classes, K states that the readout averages.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ENDS_AT_ONCE = 32  # bounds the memory of the mean's cell ledger, K * T * H numbers


def settled(predicted: Tensor) -> int | None:
    """The first token from which on the verdict never changes.

    Args:
        predicted: `(T,)`, the class predicted after each token.

    Returns:
        Its index from 0; None where there is no token.
    """
    if not len(predicted):
        return None
    differs = (predicted != predicted[-1]).nonzero()
    return int(differs[-1]) + 1 if len(differs) else 0


def norms(gradients: Tensor) -> Tensor:
    """Euclidean length of each row, `(T, H)` -> `(T,)`.

    In double precision: a gradient that has vanished to 1e-25 is still a number, and its square in float32 is zero.
    """
    return torch.linalg.vector_norm(gradients.double(), dim=1).to(gradients.dtype)


def slope(norm: Tensor) -> tuple[float | None, int]:
    """How fast a gradient shrinks with the distance from the end (Pascanu, Mikolov and Bengio 2013).

    Least squares of log10(norm) on t. A positive slope is a gradient that vanishes backwards in time.

    Args:
        norm: `(T,)`.

    Returns:
        Decades per token, None where fewer than two values can be fitted; and how many were left out because they
        are zero (or not finite) and have no logarithm.
    """
    used = (norm > 0) & norm.isfinite()
    left_out = len(norm) - int(used.sum())
    if len(norm) - left_out < 2:
        return None, left_out
    t = torch.arange(len(norm), dtype=torch.float64, device=norm.device)[used]
    y = norm[used].double().log10()
    t = t - t.mean()
    return float((t * y).sum() / (t * t).sum()), left_out


def _log_kept(gate: Tensor) -> Tensor:
    """log of the product of the gates 0 to t, `(T, H)` float64; differences of two rows are products between them."""
    # The smallest gate that has a logarithm stands for 0: two of them in a row are 0 in float32 anyway.
    return gate.double().clamp(min=torch.finfo(torch.float32).tiny).log().cumsum(0)


def survival(gate: Tensor) -> Tensor:
    """How much of what each token wrote the end still holds, by the direct path through the state alone.

    For each unit the product of the gates after t (1 at the last token); of these the quartiles over units. What goes
    round through the other gates is not in it.

    Args:
        gate: `(T, H)`, the share of the old state that is kept: an LSTM's forget gate, a GRU's update gate.

    Returns:
        `(T, 3)`: lower quartile, median, upper quartile.
    """
    if not len(gate):
        return gate.new_zeros(0, 3)
    log_kept = _log_kept(gate)
    kept = (log_kept[-1] - log_kept).exp()
    return kept.quantile(torch.tensor([0.25, 0.5, 0.75]).to(kept), dim=1).t().to(gate.dtype)


def half_life(gate: Tensor) -> float | None:
    """Tokens after which half of a state is left, at the geometric mean gate (Tallec and Ollivier 2018).

    ln 0.5 / ln(mean gate), the mean over all tokens and units; infinite where all gates are 1.

    Args:
        gate: `(T, H)`, the share of the old state that is kept.

    Returns:
        Tokens; None where there is no token.
    """
    if not gate.numel():
        return None
    mean_log = float(gate.double().log().mean())
    return math.log(0.5) / mean_log if mean_log else math.inf


def read_steps(hidden: Tensor, readout: str) -> Tensor:
    """The steps whose states a readout averages, unit by unit.

    Args:
        hidden: `(T, H)`.
        readout: "last", "mean" or "max".

    Returns:
        `(K, H)` int64: the readout is the mean over k of `hidden[ends[k, u], u]`. K is 0 where T is.
    """
    length, size = hidden.shape
    if readout == "mean" or not length:
        return torch.arange(length, device=hidden.device).unsqueeze(1).expand(length, size)
    if readout == "max":
        return hidden.max(0, keepdim=True).indices
    return torch.full((1, size), length - 1, device=hidden.device)


def ledger(hidden: Tensor, weight: Tensor, readout: str) -> Tensor:
    """What each step changed in the state, as far as the readout still reads the change; exact.

    A unit's state is the sum of its changes h_t - h_{t-1} (h_{-1} = 0), so a readout is the sum over t of the change
    at t times the share of the states it reads that lie at t or later. That share is 1 for "last", where the row is
    W (h_t - h_{t-1}); (T - t) / T for "mean"; and for "max" 1 up to the step of the unit's maximum, then 0. The same
    sum, in the order of the changes and not of the states, so the three readouts show the same quantity.

    Args:
        hidden: `(T, H)`.
        weight: `(C, H)`, the linear layer's.
        readout: "last", "mean" or "max".

    Returns:
        `(T, C)`; the column sums are the logits minus the bias.
    """
    if not len(hidden):
        return hidden.new_zeros(0, len(weight))
    ends = read_steps(hidden, readout)
    read = torch.zeros_like(hidden).scatter_add_(0, ends, hidden.new_full(ends.shape, 1 / len(ends)))
    later = read.flip(0).cumsum(0).flip(0)  # (T, H), share of what is read that lies at t or later
    change = hidden.diff(dim=0, prepend=torch.zeros_like(hidden[:1]))
    return (later * change) @ weight.t()


def cell_ledger(cell: Tensor, forget: Tensor, output: Tensor, ends: Tensor, weight: Tensor) -> Tensor:
    """What each token wrote into an LSTM's cell, as far as the cell still held it when it was read; exact.

    The additive, forget-aware decomposition of Murdoch and Szlam 2017 (arXiv 1702.02540): a state at step s is
    h_s = sum over t <= s of o_s (tanh(S_{t,s} c_t) - tanh(S_{t-1,s} c_{t-1})), S_{t,s} the product of the forget gates
    after t up to s, and the row is W times the mean of these terms over the states that the readout reads. With
    "mean" this looks at each pair of steps, so its cost grows with the square of the length.

    Args:
        cell: `(T, H)`, c_t.
        forget: `(T, H)`, the forget gate.
        output: `(T, H)`, the output gate.
        ends: `(K, H)`, the steps that are read, from `read_steps`.
        weight: `(C, H)`, the linear layer's.

    Returns:
        `(T, C)`; the column sums are the logits minus the bias.
    """
    if not len(cell):
        return cell.new_zeros(0, len(weight))
    log_kept = _log_kept(forget)
    step = torch.arange(len(cell), device=cell.device).unsqueeze(1)  # (T, 1)
    read = torch.zeros_like(cell)
    for some in ends.split(_ENDS_AT_ONCE):
        kept = (log_kept.gather(0, some).unsqueeze(1) - log_kept).exp().to(cell.dtype)  # (k, T, H), S_{t,s}
        held = (kept * cell).tanh()  # beyond s this is no share of anything; such rows are cut out below
        written = held.diff(dim=1, prepend=torch.zeros_like(held[:, :1]))
        written = torch.where(step <= some.unsqueeze(1), written, 0.0)
        read += (output.gather(0, some).unsqueeze(1) * written).sum(0)
    return (read / len(ends)) @ weight.t()
