"""The optimiser of the word vectors, held against torch's optimisers and against loops that are written out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from model import optimizer
from model.optimizer import RowAdam

ROWS, FEATURES, STEPS = 12, 3, 40
Compare = Callable[[int, RowAdam], None]


def start() -> Tensor:
    return torch.randn(ROWS, FEATURES, generator=torch.Generator().manual_seed(1))


def batches(count: int) -> Iterator[Tensor]:
    """`(2, 2)` tokens a step: unknown and padding, which each step reads, and two others, drawn."""
    generator = torch.Generator().manual_seed(2)
    for _ in range(count):
        others = 2 + torch.randint(ROWS - 2, (2,), generator=generator)
        yield torch.cat([torch.tensor([0, 1]), others]).view(2, 2)


def rate(step: int) -> float:
    return 0.05 * (1 + step % 3)  # as a schedule changes it


def loss(vectors: Tensor) -> Tensor:
    """Of the vectors `(2, 2, E)` of a batch; each position counts in its own way."""
    return (vectors * torch.linspace(-1, 2, vectors.numel()).view_as(vectors)).sin().sum()


def take(rows: RowAdam, step: int, tokens: Tensor) -> None:
    read, places = rows.read(tokens)
    loss(read[places]).backward()
    rows.step(rate(step))


def test_what_a_batch_reads_are_its_rows_and_those_of_unknown_and_padding_in_their_places() -> None:
    weight = start()
    rows = RowAdam(weight, 0.0)
    tokens = torch.tensor([[7, 3, 3], [5, 7, 1]], dtype=torch.int32)
    read, places = rows.read(tokens)
    assert torch.equal(read, weight[[0, 1, 3, 5, 7]])
    assert places.tolist() == [[4, 2, 2], [3, 4, 1]]
    assert torch.equal(read[places], weight[tokens])


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_rows_that_every_step_reads_are_trained_as_adamw_trains(weight_decay: float) -> None:
    rows = RowAdam(start(), weight_decay)
    weight = start().requires_grad_()
    adam = torch.optim.AdamW([weight], lr=1.0, weight_decay=weight_decay)
    tokens = torch.arange(ROWS).view(2, ROWS // 2)
    for step in range(STEPS):
        take(rows, step, tokens)
        adam.zero_grad()
        loss(weight[tokens]).backward()
        adam.param_groups[0]["lr"] = rate(step)
        adam.step()
        torch.testing.assert_close(rows.weight, weight.detach(), rtol=1e-5, atol=1e-5)


def test_without_decay_rows_are_trained_as_sparse_adam_trains() -> None:
    rows = RowAdam(start(), 0.0)
    embedding = torch.nn.Embedding.from_pretrained(start(), freeze=False, sparse=True)
    adam = torch.optim.SparseAdam(embedding.parameters(), lr=1.0)
    for step, tokens in enumerate(batches(STEPS)):
        take(rows, step, tokens)
        adam.zero_grad()
        loss(embedding(tokens)).backward()
        adam.param_groups[0]["lr"] = rate(step)
        adam.step()
        torch.testing.assert_close(rows.weight, embedding.weight.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("span", [1, 7, 1024])
@pytest.mark.parametrize(
    "weight_decay", [0.0, 0.3, 1 / 0.15, 9.0]
)  # of a step of rate 0.15, nothing is left by 1 / 0.15
@pytest.mark.parametrize("average_decay", [None, 0.0, 0.75, 0.998])
def test_decay_and_average_of_rows_that_rest_are_made_up_for(
    monkeypatch: pytest.MonkeyPatch, span: int, weight_decay: float, average_decay: float | None
) -> None:
    monkeypatch.setattr(optimizer, "SPAN", span)
    average = None if average_decay is None else torch.full((ROWS, FEATURES), 9.0)  # whatever it holds at first
    rows = RowAdam(start(), weight_decay, average, average_decay or 0.0)

    weight = start().double()
    first, second, expected = torch.zeros_like(weight), torch.zeros_like(weight), torch.zeros_like(weight)
    for step, tokens in enumerate(batches(STEPS)):
        read, places = rows.read(tokens)
        torch.testing.assert_close(read[places].double(), weight[tokens], rtol=1e-4, atol=1e-4)
        loss(read[places]).backward()
        rows.step(rate(step))

        leaf = weight.clone().requires_grad_()
        loss(leaf[tokens]).backward()
        for row in range(ROWS):
            weight[row] *= 1 - rate(step) * weight_decay
            if row in tokens:
                gradient = leaf.grad[row]
                first[row] = 0.9 * first[row] + 0.1 * gradient
                second[row] = 0.999 * second[row] + 0.001 * gradient**2
                mean, square = first[row] / (1 - 0.9 ** (step + 1)), second[row] / (1 - 0.999 ** (step + 1))
                weight[row] -= rate(step) * mean / (square.sqrt() + 1e-8)
            kept = average_decay if average_decay and step else 0.0  # it starts as the weights after the first step
            expected[row] = kept * expected[row] + (1 - kept) * weight[row]
    rows.settle()
    torch.testing.assert_close(rows.weight.double(), weight, rtol=1e-4, atol=1e-4)
    if average is not None:
        torch.testing.assert_close(average.double(), expected, rtol=1e-4, atol=1e-4)
    rows.settle()  # once more changes nothing
    torch.testing.assert_close(rows.weight.double(), weight, rtol=1e-4, atol=1e-4)


def test_a_row_without_a_gradient_stays_zero() -> None:
    weight = start()
    weight[1] = 0.0
    rows = RowAdam(weight, 0.3)
    for step, tokens in enumerate(batches(STEPS)):
        read, places = rows.read(tokens)
        loss(torch.nn.functional.embedding(places, read, padding_idx=1)).backward()
        rows.step(rate(step))
    rows.settle()
    assert weight[1].count_nonzero() == 0
