"""The recurrence written out step by step, so that every state and every gate can be seen and differentiated.

The fused layers of PyTorch return h_t for every step, and nothing of the cell states and gates inside. Here each
step's states are nodes of the graph of their own: `torch.autograd.grad(z, unrolled.hidden_steps)` is the gradient with
respect to h_t with c_t held, because c_{t+1} is made from c_t and not from h_t. (The gradient with respect to the
fused layer's output is something else: the part that goes from h_t straight to the readout, past the recurrence.)

Shapes: B batch, T tokens, E embedding, H hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Unrolled:
    """Everything a recurrent layer computes while it reads; `(T, H)` in place of `(B, T, H)` for one sentence.

    Attributes:
        hidden: `(B, T, H)`, h_t.
        cell: `(B, T, H)`, c_t, or None where the cell has none.
        gates: name -> `(B, T, H)`. LSTM: input, forget, candidate, output. GRU: reset, update, candidate. RNN: none.
        hidden_steps: T of `(B, H)`: the h_t that the following steps are made from, to differentiate by.
        cell_steps: T of `(B, H)`: likewise c_t; empty where the cell has none.
    """

    hidden: Tensor
    cell: Tensor | None
    gates: dict[str, Tensor]
    hidden_steps: tuple[Tensor, ...]
    cell_steps: tuple[Tensor, ...]


# A step makes the new states and gates, in the order of `_NAMES`, from the input's share of the gates `(B, G * H)`, the
# states before it, and the recurrent weights (transposed) and bias.
_Step = Callable[[Tensor, list[Tensor], Tensor, Tensor], tuple[Tensor, ...]]


def _rnn(inputs: Tensor, states: list[Tensor], weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    return (torch.tanh(torch.addmm(inputs, states[0], weight)),)


def _lstm(inputs: Tensor, states: list[Tensor], weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    hidden, cell = states
    i, f, g, o = torch.addmm(inputs, hidden, weight).chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    cell = torch.addcmul(f * cell, i, g)
    return o * cell.tanh(), cell, i, f, g, o


def _gru(inputs: Tensor, states: list[Tensor], weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    hidden = states[0]
    # The reset gate acts on the recurrent share of the candidate, bias included, so the two shares stay apart.
    input_r, input_z, input_n = inputs.chunk(3, 1)
    r, z, n = torch.addmm(bias, hidden, weight).chunk(3, 1)
    r, z = (input_r + r).sigmoid(), (input_z + z).sigmoid()
    n = torch.addcmul(input_n, r, n).tanh()
    return torch.lerp(n, hidden, z), r, z, n  # (1 - z) n + z h


_STEPS: dict[type[nn.RNNBase], _Step] = {nn.RNN: _rnn, nn.LSTM: _lstm, nn.GRU: _gru}
_NAMES: dict[type[nn.RNNBase], tuple[str, ...]] = {
    nn.RNN: ("hidden",),
    nn.LSTM: ("hidden", "cell", "input", "forget", "candidate", "output"),
    nn.GRU: ("hidden", "reset", "update", "candidate"),
}


def unroll(recurrence: nn.RNNBase, vectors: Tensor, silenced: Iterable[int] = ()) -> Unrolled:
    """Reads word vectors as `recurrence` does, from the zero state, one step at a time.

    The same numbers as the layer's own, to rounding, and differentiable in the vectors and the weights.

    Args:
        recurrence: an `nn.RNN` (tanh), `nn.LSTM` or `nn.GRU` of one layer and one direction.
        vectors: `(B, T, E)`, or `(T, E)` for one sentence; T may be 0.
        silenced: units whose h is held at zero at every step, so that neither the readout nor the next step sees them.

    Returns:
        States and gates, `(B, T, H)` or `(T, H)`.
    """
    kind, size = type(recurrence), recurrence.hidden_size
    step, names = _STEPS[kind], _NAMES[kind]
    states_kept = 2 if "cell" in names else 1
    batch = vectors if vectors.dim() == 3 else vectors.unsqueeze(0)
    input_weight, weight, input_bias, bias = recurrence.all_weights[0]
    # One product for the inputs of all steps. The GRU adds the recurrent bias inside its step.
    inputs = F.linear(batch, input_weight, input_bias if kind is nn.GRU else input_bias + bias)  # (B, T, G * H)
    transposed = weight.t()
    silent = list(silenced)
    heard = None
    if silent:
        heard = vectors.new_ones(size)
        heard[silent] = 0.0

    states = [vectors.new_zeros(len(batch), size)] * states_kept
    steps: list[tuple[Tensor, ...]] = []
    # Unbound once: slicing a step out of `inputs` would make each step's backward as long as the sentence.
    for now in inputs.unbind(1):
        made = step(now, states, transposed, bias)
        if heard is not None:
            made = (made[0] * heard, *made[1:])
        states = list(made[:states_kept])
        steps.append(made)

    by_name = dict(zip(names, zip(*steps, strict=True) if steps else [()] * len(names), strict=True))
    whole = {name: _stack(nodes, vectors, size) for name, nodes in by_name.items()}
    return Unrolled(
        hidden=whole.pop("hidden"),
        cell=whole.pop("cell", None),
        gates=whole,
        hidden_steps=by_name["hidden"],
        cell_steps=by_name.get("cell", ()),
    )


def _stack(nodes: tuple[Tensor, ...], vectors: Tensor, size: int) -> Tensor:
    """The steps of one quantity as `(B, T, H)`, or `(T, H)` where `vectors` is `(T, E)`."""
    if not nodes:
        return vectors.new_zeros(*vectors.shape[:-1], size)
    return torch.stack(nodes, 1) if vectors.dim() == 3 else torch.cat(nodes)
