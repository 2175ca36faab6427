"""The unrolled recurrence is the layer's own, with nothing hidden."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from small import ALL, named, random_classifier
from torch import nn

from benchmarks.trace import medians
from lens.unroll import unroll
from model.config import CELLS

STEP = 1e-6  # of a finite difference
GATES = {
    "rnn": [],
    "lstm": ["input", "forget", "candidate", "output"],
    "gru": ["reset", "update", "candidate"],
}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("dtype", "length", "tolerance"),
    [
        (torch.float64, 256, 1e-9),
        (torch.float32, 40, 1e-5),
        (torch.float32, 256, 1e-4),
    ],
)
def test_every_step_is_the_layers_own(name: str, dtype: torch.dtype, length: int, tolerance: float) -> None:
    recurrence = named(name).network.recurrence.to(dtype)
    torch.manual_seed(0)
    vectors = torch.randn(3, length, recurrence.input_size, dtype=dtype)
    unrolled = unroll(recurrence, vectors)
    whole, last = recurrence(vectors)
    assert torch.allclose(unrolled.hidden, whole, rtol=0, atol=tolerance)
    if unrolled.cell is not None:
        assert torch.allclose(unrolled.cell[:, -1], last[1][0], rtol=0, atol=tolerance)


@pytest.mark.parametrize("cell", CELLS)
def test_one_sentence_is_a_batch_of_one(cell: str) -> None:
    recurrence = random_classifier(cell).network.recurrence
    vectors = torch.randn(5, recurrence.input_size)
    one, batch = unroll(recurrence, vectors), unroll(recurrence, vectors.unsqueeze(0))
    assert torch.equal(one.hidden, batch.hidden[0])
    assert list(one.gates) == GATES[cell]
    for name, gate in one.gates.items():
        assert torch.equal(gate, batch.gates[name][0])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_no_token_is_no_step(cell: str, shape: tuple[int, ...]) -> None:
    recurrence = random_classifier(cell).network.recurrence
    unrolled = unroll(recurrence, torch.zeros(*shape, recurrence.input_size))
    expected = (*shape, recurrence.hidden_size)
    assert unrolled.hidden.shape == expected
    assert all(gate.shape == expected for gate in unrolled.gates.values())
    assert unrolled.hidden_steps == unrolled.cell_steps == ()


@pytest.mark.parametrize("cell", CELLS)
def test_states_follow_from_the_gates(cell: str) -> None:
    recurrence = random_classifier(cell).network.recurrence.double()
    unrolled = unroll(recurrence, torch.randn(2, 30, recurrence.input_size, dtype=torch.float64))
    gates = unrolled.gates
    for name, gate in gates.items():
        assert gate.max() <= 1
        assert gate.min() >= (-1 if name == "candidate" else 0)

    def before(states: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], 1)

    if cell == "lstm":
        rebuilt = gates["forget"] * before(unrolled.cell) + gates["input"] * gates["candidate"]
        assert torch.allclose(rebuilt, unrolled.cell, rtol=0, atol=1e-12)
        assert torch.allclose(gates["output"] * rebuilt.tanh(), unrolled.hidden, rtol=0, atol=1e-12)
    if cell == "gru":
        rebuilt = (1 - gates["update"]) * gates["candidate"] + gates["update"] * before(unrolled.hidden)
        assert torch.allclose(rebuilt, unrolled.hidden, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_the_layers_own(cell: str) -> None:
    recurrence = random_classifier(cell).network.recurrence.double()
    vectors = torch.randn(2, 12, recurrence.input_size, dtype=torch.float64, requires_grad=True)
    wanted = [vectors, *recurrence.parameters()]
    ours = torch.autograd.grad(unroll(recurrence, vectors).hidden.square().sum(), wanted)
    theirs = torch.autograd.grad(recurrence(vectors)[0].square().sum(), wanted)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_a_silenced_unit_is_heard_by_nobody(cell: str) -> None:
    recurrence = random_classifier(cell).network.recurrence.double()
    vectors = torch.randn(2, 12, recurrence.input_size, dtype=torch.float64)
    silenced = unroll(recurrence, vectors, silenced=[1, 4]).hidden
    assert (silenced[..., [1, 4]] == 0).all()
    # The same as a layer in which no weight reads the two units, their own recurrent weights included.
    with torch.no_grad():
        recurrence.weight_hh_l0[:, [1, 4]] = 0
    others = [0, 2, 3, 5, 6, 7]
    if cell == "gru":  # h also carries itself over, but unit by unit: the others do not see it
        assert torch.allclose(silenced[..., others], unroll(recurrence, vectors).hidden[..., others], atol=1e-12)
    assert torch.allclose(silenced[..., others], recurrence(vectors)[0][..., others], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_the_way_back_to_the_vectors_costs_the_same_per_token(cell: str) -> None:
    """A step sliced out of a tensor has a gradient of the whole tensor's size; at these sizes that doubles the cost."""
    recurrence = random_classifier(cell, hidden=64).network.recurrence

    def differentiate(length: int) -> None:
        vectors = torch.zeros(16, length, recurrence.input_size, requires_grad=True)
        torch.autograd.grad(unroll(recurrence, vectors).hidden_steps[-1].sum(), vectors)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(5):  # the best of a few: another process can only make it worse
            short, long = medians([partial(differentiate, 40), partial(differentiate, 256)], seconds=0.3)
            if (long / 256) / (short / 40) <= 1.5:
                return
        pytest.fail(f"{long / 256:.3f} ms a token at 256 tokens, {short / 40:.3f} at 40")
    finally:
        torch.set_num_threads(threads)


def test_the_hidden_gradient_holds_the_cell() -> None:
    """One LSTM unit by hand: h_0 reaches z through the gates of step 1 alone, c_0 also through the forget gate."""
    recurrence = nn.LSTM(1, 1, batch_first=True).double()
    i, f, g, o = 0.3, -0.2, 0.7, 0.5  # recurrent weights; the inputs are zero
    with torch.no_grad():
        for weight in recurrence.parameters():
            weight.zero_()
        recurrence.weight_hh_l0.copy_(torch.tensor([[i], [f], [g], [o]]))
        recurrence.bias_hh_l0[2] = 1.0  # so that something is written
    unrolled = unroll(recurrence, torch.zeros(2, 1, dtype=torch.float64))
    h0, c0, o0 = (x[0].item() for x in (unrolled.hidden, unrolled.cell, unrolled.gates["output"]))

    def z(h: float, c: float) -> float:
        new = sigmoid(f * h) * c + sigmoid(i * h) * math.tanh(g * h + 1)
        return sigmoid(o * h) * math.tanh(new)

    by_hidden = (z(h0 + STEP, c0) - z(h0 - STEP, c0)) / (2 * STEP)
    by_cell = (z(o0 * math.tanh(c0 + STEP), c0 + STEP) - z(o0 * math.tanh(c0 - STEP), c0 - STEP)) / (2 * STEP)
    hidden, cell = torch.autograd.grad(unrolled.hidden[1].sum(), [unrolled.hidden_steps[0], unrolled.cell_steps[0]])
    assert hidden.item() == pytest.approx(by_hidden, rel=1e-6)
    assert cell.item() == pytest.approx(by_cell, rel=1e-6)
    # Far apart, so that one cannot pass for the other; nor for the cell's with h held.
    assert by_hidden < 0.9 * by_cell
    assert abs((z(h0, c0 + STEP) - z(h0, c0 - STEP)) / (2 * STEP) - by_cell) > 0.05 * by_cell
