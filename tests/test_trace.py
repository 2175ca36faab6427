"""The trace's numbers are what their names say, by hand, by finite differences, and by the classifier's own answer."""

from __future__ import annotations

import base64
import json
import math
import subprocess
import sys
from dataclasses import fields, replace

import pytest
import torch
from small import ALL, LABELS, SENTENCE, doubled, named, random_classifier, words
from torch import Tensor

from benchmarks.trace import growth
from lens import Trace, measures, trace
from lens.attribution import evidence
from model.classifier import Classifier
from model.config import CELLS, READOUTS, UserError
from model.network import read_out
from model.text import MAX_TOKENS

STEP = 1e-5  # of a finite difference, in double precision


# ------------------------------------------------------------------------------------------------------ invariants


@pytest.mark.parametrize("length", [1, 17, MAX_TOKENS])
@pytest.mark.parametrize("name", ALL)
def test_the_last_verdict_is_the_classifiers(name: str, length: int) -> None:
    classifier, text = named(name), words(length)
    t = trace(classifier, text)
    assert torch.allclose(t.probabilities[-1], classifier.predict([text])[0], rtol=0, atol=1e-5)
    assert torch.allclose(t.probabilities.sum(1), torch.ones(length), atol=1e-5)
    assert t.predicted == t.target == int(t.logits.argmax())


@pytest.mark.parametrize("name", ALL)
def test_every_verdict_is_that_of_the_sentence_cut_there(name: str) -> None:
    classifier, text = named(name), words(12)
    cut = [" ".join(text.split()[: i + 1]) for i in range(12)]
    assert torch.allclose(trace(classifier, text).probabilities, classifier.predict(cut), rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [1, 17, MAX_TOKENS])
@pytest.mark.parametrize("name", ALL)
def test_ledgers_sum_to_the_logits(name: str, length: int) -> None:
    t = trace(named(name), words(length))
    assert torch.allclose(t.contribution.sum(0) + t.bias, t.logits, rtol=0, atol=1e-4)
    assert (t.cell_contribution is None) == (t.cell is None)
    if t.cell_contribution is not None:
        assert torch.allclose(t.cell_contribution.sum(0) + t.bias, t.logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_the_ledger_of_the_last_state_is_each_steps_change(cell: str) -> None:
    classifier = random_classifier(cell)
    t = trace(classifier, SENTENCE)
    change = t.hidden - torch.cat([torch.zeros(1, 8), t.hidden[:-1]])
    assert torch.allclose(t.contribution, change @ classifier.network.linear.weight.detach().t(), atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_gates_are_shares_and_the_cell_follows_from_them(name: str) -> None:
    t = trace(named(name), words(40))
    for gate_name, gate in t.gates.items():
        assert gate.max() <= 1
        assert gate.min() >= (-1 if gate_name == "candidate" else 0)
    if t.cell is not None:
        before = torch.cat([torch.zeros_like(t.cell[:1]), t.cell[:-1]])
        rebuilt = t.gates["forget"] * before + t.gates["input"] * t.gates["candidate"]
        assert torch.allclose(rebuilt, t.cell, rtol=0, atol=1e-5)


class Rest:
    """What becomes of the target's logit when one step's state is changed, by the fused layer in double precision."""

    def __init__(self, classifier: Classifier, t: Trace) -> None:
        self.network = doubled(classifier).network
        self.target = t.target
        indices = torch.tensor(classifier.vocabulary.encode(token.text for token in t.tokens))
        self.vectors = self.network.embedding(indices).detach()
        states, self.cells, state = [], [], None
        for vector in self.vectors:
            out, state = self.network.recurrence(vector.view(1, 1, -1), state)
            states.append(out[0, 0].detach())
            self.cells.append(state[1][0, 0].detach() if isinstance(state, tuple) else None)
        self.hidden = torch.stack(states)

    @torch.no_grad()
    def logit(self, step: int, hidden: Tensor, cell: Tensor | None) -> Tensor:
        """z when the states at `step` are these; earlier ones stand as they are."""
        state = hidden.view(1, 1, -1) if cell is None else (hidden.view(1, 1, -1), cell.view(1, 1, -1))
        after = self.hidden[:0]
        if step + 1 < len(self.vectors):
            after = self.network.recurrence(self.vectors[step + 1 :].unsqueeze(0), state)[0][0]
        states = torch.cat([self.hidden[:step], hidden.unsqueeze(0), after]).unsqueeze(0)
        read = read_out(states, torch.tensor([states.shape[1]]), self.network.config.readout)
        return self.network.linear(read)[0, self.target]

    def by_hidden(self, step: int) -> Tensor:
        """The gradient with c held, `(H,)`."""
        hidden, cell = self.hidden[step], self.cells[step]
        nudges = STEP * torch.eye(len(hidden), dtype=torch.float64)
        ends = [[self.logit(step, hidden + sign * nudge, cell) for nudge in nudges] for sign in (1, -1)]
        return (torch.stack(ends[0]) - torch.stack(ends[1])) / (2 * STEP)

    def by_cell(self, step: int, through_hidden: bool = True) -> Tensor:
        """The gradient with respect to c, h = o tanh(c) following it or held, `(H,)`."""
        hidden, cell = self.hidden[step], self.cells[step]
        assert cell is not None
        output = hidden / cell.tanh()
        ends = []
        for sign in (1, -1):
            moved = [cell + sign * nudge for nudge in STEP * torch.eye(len(cell), dtype=torch.float64)]
            ends.append([self.logit(step, output * c.tanh() if through_hidden else hidden, c) for c in moved])
        return (torch.stack(ends[0]) - torch.stack(ends[1])) / (2 * STEP)


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_finite_differences(name: str) -> None:
    classifier = named(name)
    t = trace(classifier, words(10))
    rest = Rest(classifier, t)
    for step in (0, 4, 8, 9):
        assert float(t.gradient_norm[step]) == pytest.approx(float(rest.by_hidden(step).norm()), rel=0.01, abs=1e-7)
        if t.cell_gradient_norm is not None:
            expected = float(rest.by_cell(step).norm())
            assert float(t.cell_gradient_norm[step]) == pytest.approx(expected, rel=0.01, abs=1e-7)


@pytest.mark.parametrize("readout", READOUTS)
def test_other_gradients_would_be_told_apart(readout: str) -> None:
    classifier = random_classifier("lstm", readout)
    t = trace(classifier, words(10))
    rest = Rest(classifier, t)
    fused = rest.network.recurrence(rest.vectors.unsqueeze(0))[0]
    fused.retain_grad()
    read = read_out(fused, torch.tensor([10]), readout)
    rest.network.linear(read)[0, t.target].backward()
    for step in (4, 8):
        held, total = float(rest.by_hidden(step).norm()), float(rest.by_cell(step).norm())
        wrong = [
            (float(fused.grad[0, step].norm()), held),  # the fused layer's output: not through the recurrence
            (total, held),
            (float(rest.by_cell(step, through_hidden=False).norm()), total),
        ]
        for other, right in wrong:
            assert abs(other - right) > 0.02 * right


# --------------------------------------------------------------------------------------------------------- by hand


def test_settled_is_the_first_token_after_which_the_verdict_stays() -> None:
    assert measures.settled(torch.tensor([2, 1, 2, 2])) == 2
    assert measures.settled(torch.tensor([2, 2, 2])) == 0
    assert measures.settled(torch.tensor([1, 1, 2])) == 2
    assert measures.settled(torch.tensor([], dtype=torch.int64)) is None


def test_norms_see_gradients_whose_squares_underflow() -> None:
    assert measures.norms(torch.tensor([[3e-25, 4e-25], [3.0, 4.0]])).tolist() == pytest.approx(
        [5e-25, 5.0], rel=1e-6, abs=0
    )


def test_the_slope_is_in_decades_per_token_and_leaves_zeros_out() -> None:
    fitted, left_out = measures.slope(torch.tensor([1e-3, 0.0, 1e-1, 1.0]))
    assert fitted == pytest.approx(1.0)
    assert left_out == 1
    # log10: 0, 1, 1, 2 at t = 0, 1, 2, 3: slope (1.5 * 2 + 0.5 * 0) / 5 = 0.6
    assert measures.slope(torch.tensor([1.0, 10.0, 10.0, 100.0]))[0] == pytest.approx(0.6)
    assert measures.slope(torch.tensor([0.0, 1.0])) == (None, 1)
    assert measures.slope(torch.tensor([])) == (None, 0)


def test_survival_multiplies_the_later_gates() -> None:
    # Products of the gates after t: token 0 (0.5 * 0.2, 0.5 * 0.4, 1 * 1), token 1 (0.2, 0.4, 1), token 2 ones.
    gate = torch.tensor([[0.9, 0.0, 0.3], [0.5, 0.5, 1.0], [0.2, 0.4, 1.0]])
    expected = torch.tensor([[0.15, 0.2, 0.6], [0.3, 0.4, 0.7], [1.0, 1.0, 1.0]])
    assert torch.allclose(measures.survival(gate), expected, atol=1e-6)
    assert measures.survival(torch.tensor([[1.0], [0.0], [0.0], [1.0]]))[:, 1].tolist() == pytest.approx([0, 0, 1, 1])


def test_the_half_life_is_that_of_the_geometric_mean_gate() -> None:
    assert measures.half_life(torch.full((3, 2), 0.5)) == pytest.approx(1.0)
    assert measures.half_life(torch.tensor([[1.0, 0.25]])) == pytest.approx(1.0)
    assert measures.half_life(torch.full((3, 2), 0.5**0.1)) == pytest.approx(10.0, rel=1e-5)
    assert measures.half_life(torch.ones(3, 2)) == math.inf
    assert measures.half_life(torch.tensor([[0.0, 0.5]])) == 0
    assert measures.half_life(torch.empty(0, 2)) is None


def test_the_ledger_counts_a_change_as_far_as_it_is_read() -> None:
    hidden, weight = torch.tensor([[0.1], [0.4], [0.2]]), torch.tensor([[2.0]])
    expected = {"last": [0.2, 0.6, -0.4], "mean": [0.2, 0.4, -0.4 / 3], "max": [0.2, 0.6, 0.0]}
    for readout, rows in expected.items():
        assert measures.ledger(hidden, weight, readout)[:, 0].tolist() == pytest.approx(rows, abs=1e-6)


def test_the_cell_ledger_counts_what_was_written_and_kept() -> None:
    cell, forget, output = (torch.tensor(x).unsqueeze(1) for x in ([1.0, 1.5], [0.7, 0.5], [0.6, 0.8]))
    first, second = 0.8 * math.tanh(0.5), 0.8 * (math.tanh(1.5) - math.tanh(0.5))
    at_once = 0.6 * math.tanh(1.0)
    # The state at the end is 0.8 tanh(1.5), of which c_0 = 1.0 left half; the first state is 0.6 tanh(1.0).
    cases = [
        ([[1]], [first, second]),
        ([[0]], [at_once, 0.0]),
        ([[0], [1]], [(at_once + first) / 2, second / 2]),
    ]
    for ends, expected in cases:
        rows = measures.cell_ledger(cell, forget, output, torch.tensor(ends), torch.tensor([[3.0]]))
        assert rows[:, 0].tolist() == pytest.approx([3 * x for x in expected], abs=1e-6)


def test_units_are_ordered_by_what_they_say_for_the_target() -> None:
    classifier = random_classifier("lstm")
    t = trace(classifier, SENTENCE, "Business")
    said = (classifier.network.linear.weight[2] * t.hidden[-1]).abs()[t.order]
    assert (said[:-1] >= said[1:]).all()


# ----------------------------------------------------------------------------------------------- sentences and mistakes


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("text", ["", " ;: \n"])
def test_an_empty_sentence_is_the_zero_state(name: str, text: str) -> None:
    classifier = named(name)
    t = trace(classifier, text)
    size, classes = classifier.network.config.hidden_dim, len(classifier.labels)
    assert t.tokens == ()
    assert torch.equal(t.logits, classifier.network.linear.bias.detach())
    assert t.hidden.shape == (0, size)
    assert t.probabilities.shape == t.contribution.shape == (0, classes)
    assert t.gradient_norm.shape == (0,)
    assert t.settled is t.slope is t.half_life is None
    assert t.survival is None or t.survival.shape == (0, 3)
    if t.cell is not None:
        assert t.cell.shape == (0, size)
        assert t.cell_gradient_norm.shape == (0,)
        assert t.cell_contribution.shape == (0, classes)
    assert json.loads(json.dumps(t.to_payload(), allow_nan=False))["hidden"]["data"] == ""


def test_a_trace_holds_plain_float32_tensors() -> None:
    for cell in CELLS:
        t = trace(random_classifier(cell), SENTENCE)
        values = [getattr(t, field.name) for field in fields(t)]
        tensors = [value for value in [*values, *t.gates.values()] if isinstance(value, Tensor)]
        assert all(not x.requires_grad and x.device.type == "cpu" for x in tensors)
        assert all(x.dtype == torch.float32 for x in tensors if x is not t.order)


def test_what_a_cell_does_not_have_is_none() -> None:
    t = {cell: trace(random_classifier(cell), SENTENCE) for cell in CELLS}
    assert t["rnn"].cell is t["rnn"].survival is t["rnn"].half_life is t["gru"].cell is None
    assert t["rnn"].cell_gradient_norm is t["gru"].cell_contribution is None
    assert torch.allclose(t["gru"].survival, measures.survival(t["gru"].gates["update"]))
    assert torch.allclose(t["lstm"].survival, measures.survival(t["lstm"].gates["forget"]))


def test_a_long_sentence_is_cut_and_says_so() -> None:
    t = trace(random_classifier("gru"), words(MAX_TOKENS + 9))
    assert len(t.tokens) == len(t.hidden) == MAX_TOKENS
    assert t.truncated == 9


def test_the_target_can_be_chosen() -> None:
    classifier = random_classifier("lstm")
    traces = [trace(classifier, SENTENCE, label) for label in LABELS]
    assert [t.target for t in traces] == [0, 1, 2, 3]
    assert len({t.predicted for t in traces}) == 1
    assert len({float(t.gradient_norm[0]) for t in traces}) == 4


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(UserError, match="World, Sports"):
        trace(random_classifier("rnn"), SENTENCE, "Weather")


def test_a_classifier_that_reads_padding_is_refused() -> None:
    with pytest.raises(UserError, match="padding"):
        trace(random_classifier("rnn", "mean", padding="read"), SENTENCE)


def test_tracing_leaves_no_gradient_behind() -> None:
    classifier = random_classifier("lstm")
    with torch.no_grad():
        trace(classifier, SENTENCE)
    assert all(weight.grad is None for weight in classifier.network.parameters())


# ---------------------------------------------------------------------------------------------------------- payload


def decoded(matrix: dict) -> Tensor:
    """As the browser does it."""
    data = torch.frombuffer(bytearray(base64.b64decode(matrix["data"])), dtype=torch.int8)
    return data.view(matrix["shape"]).float() * matrix["scale"]


@pytest.mark.parametrize("name", ALL)
def test_matrices_come_back_within_half_a_step(name: str) -> None:
    t = trace(named(name), SENTENCE)
    payload = t.to_payload()
    pairs = [(payload["hidden"], t.hidden), *((payload["gates"][gate], t.gates[gate]) for gate in t.gates)]
    if t.cell is not None:
        pairs.append((payload["cell"], t.cell))
    for matrix, values in pairs:
        assert matrix["scale"] == pytest.approx(float(values.abs().max()) / 127)
        assert (decoded(matrix) - values).abs().max() <= matrix["scale"] * 0.501


def test_numbers_keep_four_digits() -> None:
    t = trace(random_classifier("lstm"), SENTENCE)
    payload = t.to_payload()
    for name in ("probabilities", "logits", "gradient_norm", "contribution", "cell_contribution", "survival"):
        assert torch.allclose(torch.tensor(payload[name]), getattr(t, name), rtol=5e-4, atol=0)


def test_a_payload_survives_every_encoder() -> None:
    t = trace(random_classifier("lstm"), "stocks \ud83d fell <b>on</b> ${x} é")
    hidden = t.hidden.clone()
    hidden[0, 0], hidden[0, 1] = math.nan, math.inf
    t = replace(
        t, hidden=hidden, logits=torch.tensor([math.nan, math.inf, 0.0, 1.0]), slope=math.nan, half_life=math.inf
    )
    payload = t.to_payload()
    json.dumps(payload, ensure_ascii=False, allow_nan=False).encode("utf-8")
    assert payload["logits"] == [None, None, 0.0, 1.0]
    assert payload["slope"] is payload["half_life"] is None
    assert base64.b64decode(payload["hidden"]["data"])[:2] == bytes([128, 128])  # -128
    assert [token["source"] for token in payload["tokens"]][1] == "\ufffd"


def test_two_payloads_with_evidence_are_small() -> None:
    size = 0
    for cell in ("rnn", "lstm"):
        classifier = random_classifier(cell, hidden=64, embedding=128)
        size += len(json.dumps(trace(classifier, words(40)).to_payload()))
        size += len(json.dumps(evidence(classifier, words(40)).to_payload()))
    assert size < 100_000


# ---------------------------------------------------------------------------------------------------- cost and imports


@pytest.mark.parametrize("readout", ["last", "max"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_cost_per_token_does_not_grow_with_the_length(cell: str, readout: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # The best of a few: another process can only make it worse.
        assert any(growth(cell, readout, seconds=0.3) <= 1.3 for _ in range(5))
    finally:
        torch.set_num_threads(threads)


def test_lens_knows_neither_viewer_nor_gradio_and_model_not_lens() -> None:
    code = (
        "import sys, model; assert not any(n.split('.')[0] == 'lens' for n in sys.modules);"
        "import lens, lens.attribution, lens.trace; assert callable(lens.trace);"
        "assert not {'gradio', 'viewer', 'scipy', 'captum'} & {n.split('.')[0] for n in sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
