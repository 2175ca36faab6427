"""The RNN's own backpropagation through time, held against torch's layer and against finite differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import NetworkConfig
from model.elman import elman
from model.network import RecurrentNetwork

ROWS, WORDS, UNITS = 5, 3, 4


def through_elman(layer: nn.RNN, vectors: Tensor) -> Tensor:
    input_weight, weight, input_bias, bias = layer.all_weights[0]
    return elman(F.linear(vectors, input_weight, input_bias + bias).transpose(0, 1), weight).transpose(0, 1)


@pytest.mark.parametrize("steps", [1, 2, 9, 256])
@pytest.mark.parametrize("read", ["each step", "the last step", "one step a row"])
def test_states_and_gradients_are_those_of_the_layer(steps: int, read: str) -> None:
    torch.manual_seed(0)
    layer = nn.RNN(WORDS, UNITS, batch_first=True).double()
    vectors = torch.randn(ROWS, steps, WORDS, dtype=torch.double, requires_grad=True)
    counts = torch.randn(ROWS, steps, UNITS, dtype=torch.double)
    if read == "the last step":
        counts[:, :-1] = 0
    elif read == "one step a row":
        counts *= F.one_hot(torch.arange(ROWS) % steps, steps).unsqueeze(2)
    expected, states = layer(vectors)[0], through_elman(layer, vectors)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-12)
    asked = [vectors, *layer.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad((states * counts).sum(), asked),
        torch.autograd.grad((expected * counts).sum(), asked),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(6, 2, UNITS, dtype=torch.double, requires_grad=True)
    weight = torch.randn(UNITS, UNITS, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(elman, (inputs, weight))


def test_what_comes_in_stays_as_it_was() -> None:
    torch.manual_seed(0)
    inputs, weight = torch.randn(6, 2, UNITS, requires_grad=True), torch.randn(UNITS, UNITS, requires_grad=True)
    before, gradient = inputs.detach().clone(), torch.randn(6, 2, UNITS)
    sent = gradient.clone()
    states = elman(inputs, weight)
    kept = states.detach().clone()
    states.backward(sent)
    assert torch.equal(inputs, before)
    assert torch.equal(sent, gradient)
    assert torch.equal(states, kept)


def test_a_network_that_trains_reads_as_one_that_is_asked() -> None:
    torch.manual_seed(0)
    network = RecurrentNetwork(
        NetworkConfig(cell="rnn", vocabulary_size=30, num_classes=4, embedding_dim=6, hidden_dim=8)
    ).eval()
    tokens, lengths = torch.randint(2, 30, (7, 40)), torch.tensor([1, 40, 7, 12, 0, 3, 39])
    trained = network(tokens, lengths)
    with torch.no_grad():
        asked = network(tokens, lengths)
    torch.testing.assert_close(trained, asked, rtol=0, atol=1e-6)
    vectors = network.embed(tokens)
    assert "Elman" in _names(network.states(vectors, lengths))
    network.config = NetworkConfig(**{**network.config.__dict__, "packed": True})
    assert "Elman" not in _names(network.states(vectors, lengths))


def _names(states: Tensor) -> str:
    """What made the states: the operations of the graph behind them."""
    found, waiting = [], [states.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            found.append(node.name())
            waiting += [before for before, _ in node.next_functions]
    return " ".join(found)
