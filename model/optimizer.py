"""AdamW for the word vectors that a step reads: its cost grows with the words of a batch, not with the vocabulary.

Most steps read a few thousand of the words, and only their vectors have a gradient. Let g be the gradient of a row that
step n reads, r_n the learning rate and c the weight decay. The row takes a step of Adam (Kingma and Ba 2015, algorithm
1) with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2):

    m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
    w <- (1 - r_n c) w - r_n (m / (1 - b1^n)) / (sqrt(v / (1 - b2^n)) + eps)

What happens to a row that step n does not read:

- Its moments rest, as in `torch.optim.SparseAdam`, and so does the step along them. This is the one difference from
  AdamW, which lets the momentum of a word go on moving its vector after the word was read.
- Its weight decay goes on, and so does the moving average a of the weights, decaying by d a step. Neither needs the
  row until it is read again; both are made up for then, exactly. With s the last step that the row is up to date with,

    w_n = w_s D_n / D_s                                         D_n = (1 - r_n c) D_(n-1)
    a_n = d^(n-s) a_s + (w_s / D_s) (Q_n - d^(n-s) Q_s)         Q_n = d Q_(n-1) + (1 - d) D_n

  where the sum that Q stands for is that of the average's own recursion, a_n = d a_(n-1) + (1 - d) w_n.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.text import PADDING_INDEX, UNKNOWN_INDEX

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # of Adam, as torch has them
SPAN = 1024  # steps after which all rows are brought up to date: D and Q are kept for so many
LEAST = 0.5  # |D| below which they are, too: beside a small D, what the averages differ by is lost in rounding


class RowAdam:
    """Trains the rows of a matrix of word vectors that are read.

    The matrix itself is up to date after `settle`.

    Args:
        weight: `(V, E)`, changed in place.
        weight_decay: c, decoupled.
        average: `(V, E)`, the moving average, changed in place; it starts as the weights are after the first step.
        average_decay: d.
    """

    def __init__(
        self, weight: Tensor, weight_decay: float, average: Tensor | None = None, average_decay: float = 0.0
    ) -> None:
        self.weight, self.weight_decay = weight.detach(), weight_decay
        self.average, self.average_decay = None if average is None else average.detach(), average_decay
        self.first = torch.zeros_like(self.weight)  # m
        self.second = torch.zeros_like(self.weight)  # v
        self.places = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)  # of a word among those read
        self.steps = 0
        # What rows are brought up to date with; counted anew when all of them are.
        self.age, self.shrunk, self.gathered = 0, 1.0, 0.0  # n, D_n, Q_n
        self.ages = torch.zeros(len(weight), dtype=torch.int64, device=weight.device)  # s
        self.history = torch.tensor([[1.0], [0.0]], device=weight.device).repeat(1, SPAN + 1)  # D, Q
        self.fading = torch.tensor([average_decay**n for n in range(SPAN + 1)], device=weight.device)  # d^n

    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The rows that a batch reads, for the network to read in place of the whole matrix.

        The rows of unknown words and of padding are always among them and keep their indices: any word may be dropped.

        Args:
            tokens: `(B, T)` indices of rows.

        Returns:
            The rows `(R, E)`, a leaf for the gradient, and the tokens `(B, T)` as indices of them.
        """
        seen = torch.zeros(len(self.weight), dtype=torch.bool, device=tokens.device)
        flat = tokens.flatten()
        seen.index_fill_(0, flat.long(), True)  # this and its like take a fraction of the time of seen[flat] = True
        seen[UNKNOWN_INDEX] = seen[PADDING_INDEX] = True
        self.indices = seen.nonzero().squeeze(1)  # waits for a GPU, as cutting the batch did just before
        count = torch.arange(len(self.indices), dtype=torch.int32, device=tokens.device)
        self.places.index_copy_(0, self.indices, count)
        rows, self.averaged = self._up_to_date(self.indices)
        self.rows = rows.requires_grad_()
        return self.rows, self.places.index_select(0, flat).view_as(tokens)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Moves the rows read last along their gradient, with the learning rate `rate`."""
        self.steps += 1
        kept = 1 - rate * self.weight_decay
        indices, rows, gradient = self.indices, self.rows.detach(), self.rows.grad
        assert gradient is not None
        first = self.first.index_select(0, indices).lerp_(gradient, 1 - BETA1)
        second = self.second.index_select(0, indices).mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        size = (second / (1 - BETA2**self.steps)).sqrt_().add_(EPSILON)
        rows.mul_(kept).addcdiv_(first, size, value=-rate / (1 - BETA1**self.steps))
        for matrix, new in ((self.first, first), (self.second, second), (self.weight, rows)):
            matrix.index_copy_(0, indices, new)

        self.age += 1
        self.shrunk *= kept
        self.gathered = self.average_decay * self.gathered + (1 - self.average_decay) * self.shrunk
        self.history[0, self.age], self.history[1, self.age] = self.shrunk, self.gathered
        self.ages.index_fill_(0, indices, self.age)
        if self.average is not None:
            self.average.index_copy_(0, indices, self.averaged.lerp_(rows, 1 - self.average_decay))
            if self.steps == 1:
                self.settle()
                self.average.copy_(self.weight)
        if self.age == SPAN or abs(self.shrunk) < LEAST:
            self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Brings all rows up to date."""
        if self.age == 0:
            return
        weight, average = self._up_to_date(None)
        self.weight.copy_(weight)
        if self.average is not None:
            self.average.copy_(average)
        self.age, self.shrunk, self.gathered = 0, 1.0, 0.0
        self.ages.zero_()

    @torch.no_grad()
    def _up_to_date(self, indices: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows, all where no indices are given, and their averages, empty where none is taken."""

        def chosen(matrix: Tensor) -> Tensor:
            return matrix if indices is None else matrix.index_select(0, indices)

        rows = chosen(self.weight)
        if self.average is None and not self.weight_decay:
            return rows, rows[:0]
        ages = chosen(self.ages)
        shrunk, gathered = self.history.index_select(1, ages).unsqueeze(2)  # (R, 1) each
        rows = rows / shrunk
        if self.average is None:
            return rows * self.shrunk, rows[:0]
        fading = self.fading.index_select(0, self.age - ages).unsqueeze(1)
        return rows * self.shrunk, fading * chosen(self.average) + rows * (self.gathered - fading * gathered)
