"""The states of a simple RNN (Elman 1990) in two operations a step, and backpropagation through time in two more.

`nn.RNN` takes several times as many for the same numbers on a CPU, and on sentences of some forty words and a few
hundred rows starting an operation costs about as much as computing it.

    h_t = tanh(x_t + U h_(t-1)), h_0 = 0

With e_t the gradient that reaches h_t from outside the recurrence, the gradient at x_t is (Werbos 1990)

    d_t = (e_t + U^T d_(t+1)) (1 - h_t^2)

and that of U is the sum over t of d_t h_(t-1)^T, one product for all steps.

Shapes: T steps, B batch, H hidden units.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class _Elman(Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        hidden = inputs.clone(memory_format=torch.contiguous_format)
        steps, transposed = hidden.unbind(0), weight.t()
        steps[0].tanh_()
        for before, h in pairwise(steps):
            h.addmm_(before, transposed).tanh_()
        ctx.save_for_backward(hidden, weight)
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        hidden, weight = ctx.saved_tensors
        deltas = gradient.clone(memory_format=torch.contiguous_format)
        steps, slopes = deltas.unbind(0), (1 - hidden * hidden).unbind(0)
        steps[-1].mul_(slopes[-1])
        for t in range(len(steps) - 2, -1, -1):
            steps[t].addmm_(steps[t + 1], weight).mul_(slopes[t])
        return deltas, deltas[1:].flatten(0, 1).t() @ hidden[:-1].flatten(0, 1)


def elman(inputs: Tensor, weight: Tensor) -> Tensor:
    """All states, from the zero state on; differentiable once.

    Args:
        inputs: `(T, B, H)`, x_t: what the words bring, biases included; T is at least 1.
        weight: `(H, H)`, U.

    Returns:
        `(T, B, H)`, h_t.
    """
    hidden: Tensor = _Elman.apply(inputs, weight)
    return hidden
