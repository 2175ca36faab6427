"""What is said of units and of the plane of states: by hand, and by asking one row at a time."""

from __future__ import annotations

import json

import pytest
import torch
from scipy.stats import mannwhitneyu
from small import RANDOM, named, random_classifier, words
from stub import states, stub, values
from torch import Tensor

from lens import trace, unit_measures
from lens.notes import mismatch, to_json
from lens.unit_measures import (
    accuracies_without,
    measure_units,
    participation,
    principal,
    selectivities,
    windows,
)
from lens.units import GATES, LARGEST, WINDOWS, WORDS, form, project, silence, unit_payload
from lens.unroll import unroll
from model.classifier import Classifier
from model.config import UserError
from model.corpus import EncodedRows
from model.network import read_out
from model.text import tokenize

TEXTS = [words(count) for count in (3, 9, 1, 14, 22, 5, 40)] + ["", "w1 w2 w3 w4 w9 w8", "w3 w3 w3"]
CLASSES = [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def hidden_states(classifier: Classifier, text: str, silenced: tuple[int, ...] = ()) -> Tensor:
    """h_t of one text, `(T, H)`, read by itself."""
    indices = torch.tensor(classifier.vocabulary.encode(tokenize(text)), dtype=torch.int64)
    with torch.no_grad():
        return unroll(classifier.network.recurrence, classifier.network.embedding(indices), silenced).hidden


def correct(classifier: Classifier, text: str, answer: int, unit: int) -> bool:
    hidden = hidden_states(classifier, text, (unit,)).unsqueeze(0)
    if not hidden.shape[1]:
        return int(classifier.network.linear.bias.argmax()) == answer
    state = read_out(hidden, torch.tensor([hidden.shape[1]]), classifier.network.config.readout)
    return int(classifier.network.linear(state)[0].argmax()) == answer


# -------------------------------------------------------------------------------------------------------------- by hand


def test_selectivity_by_hand() -> None:
    found = selectivities(torch.tensor([[3.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 0, 1, 1]), 3)
    assert found[0].tolist() == [0.5, -0.5, 0.0]  # of 4 pairs 3 are won
    assert found[1].tolist() == [0.0, 0.0, 0.0]  # all equal; and a class of no rows


def test_selectivity_is_what_mann_and_whitney_count() -> None:
    torch.manual_seed(0)
    values, classes = torch.randn(60, 3).round(decimals=1), torch.randint(0, 4, (60,))
    found = selectivities(values, classes, 4)
    for unit in range(3):
        for label in range(4):
            won = mannwhitneyu(values[classes == label, unit], values[classes != label, unit]).statistic
            pairs = int((classes == label).sum()) * int((classes != label).sum())
            assert float(found[unit, label]) == pytest.approx(2 * won / pairs - 1)


def test_windows_are_short_and_of_rows_of_their_own() -> None:
    rows = [[f"r{row}w{i}" for i in range(20)] for row in range(12)]
    peaks = torch.tensor([0.1, -0.9, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.2, 0.05, 0.0, 0.01])
    steps = torch.tensor([10, 0, 19, 3, 10, 10, 10, 10, 10, 10, 10, 10])
    found = windows(peaks, steps, rows, list(range(12)), {})
    assert [window["class"] for window in found] == [1, 7, 6, 5, 4, 3, 2, 8]
    assert [window["value"] for window in found[:2]] == pytest.approx([-0.9, 0.8])
    assert found[0] == {"tokens": rows[1][:8], "peak": 0, "value": found[0]["value"], "class": 1}
    assert found[1]["tokens"] == rows[7][5:13]
    assert found[1]["peak"] == 5
    assert next(window for window in found if window["class"] == 2)["tokens"] == rows[2][12:]
    for window in found:
        row, peak = window["class"], window["peak"]
        assert len(window["tokens"]) == WORDS == 8
        assert window["tokens"][peak] == rows[row][int(steps[row])]


def test_a_window_comes_once_and_a_row_gives_no_second_one() -> None:
    rows = [["a", "b"], ["a", "b"], [], [*"abcdefghijklmnop"], ["x" * 90]]
    peaks, taken = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]), {}
    first = windows(peaks, torch.tensor([1, 1, 0, 15, 0]), rows, [0] * 5, taken)
    assert [window["tokens"] for window in first] == [["a", "b"], [*"ijklmnop"], ["x" * 40]]
    second = windows(peaks, torch.tensor([1, 1, 0, 9, 0]), rows, [0] * 5, taken)
    assert [window["tokens"] for window in second] == [["a", "b"], ["x" * 40]]
    again = windows(peaks, torch.tensor([1, 1, 0, 14, 0]), rows, [0] * 5, taken)
    assert [*"ijklmnop"] in [window["tokens"] for window in again]


def test_principal_components_by_hand() -> None:
    variances, directions = principal(torch.tensor([[2.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 1.0]]).double())
    assert variances.tolist() == pytest.approx([5, 2, 1])
    assert directions.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert participation(torch.tensor([1.0, 1.0, 1.0, 0.0])) == pytest.approx(3)
    assert participation(torch.tensor([5.0, 0.0])) == pytest.approx(1)
    assert participation(torch.zeros(2)) == 0


def test_one_unit_by_hand() -> None:
    texts, classes = ["up", "hot", "down", "down the"], [0, 0, 1, 0]
    found = measure_units(stub(), texts, classes)
    unit = found["units"][0]
    assert (found["rows"], found["tokens"]) == (4, 5)
    assert found["accuracy"] == 0.75
    assert unit["accuracy"] == 0.75  # without it the bias says the first class always
    assert unit["class"] == 0
    assert unit["selectivity"] == 1.0
    assert unit["saturated"] == {}
    assert [window["tokens"] for window in unit["windows"]] == [["hot"], ["up"], ["down"], ["down", "the"]]
    assert unit["windows"][3]["peak"] == 0
    h = [h for text in texts for h in states(values(text))]
    assert found["plane"]["mean"] == pytest.approx([sum(h) / 5], abs=1e-4)
    assert found["plane"]["components"] == [[1.0], [0.0]]
    assert found["plane"]["shares"] == [1.0]
    assert found["plane"]["participation"] == 1.0
    last = [states(values(text))[-1] for text in texts]
    assert found["plane"]["ends"][1] == pytest.approx([last[2] - sum(h) / 5, 0], abs=1e-3)


# ---------------------------------------------------------------------------------------------------- one row at a time


@pytest.mark.parametrize("name", RANDOM)
def test_the_accuracy_without_a_unit_is_that_of_the_rows_read_one_by_one(name: str) -> None:
    classifier = named(name)
    rows = EncodedRows.encode([tokenize(text) for text in TEXTS], CLASSES, classifier.vocabulary)
    before = {key: weight.clone() for key, weight in classifier.network.state_dict().items()}
    found = accuracies_without(classifier.network, rows)
    for unit, accuracy in enumerate(found):
        hits = [correct(classifier, text, answer, unit) for text, answer in zip(TEXTS, CLASSES, strict=True)]
        assert accuracy == pytest.approx(sum(hits) / len(hits))
    assert all(torch.equal(before[key], weight) for key, weight in classifier.network.state_dict().items())


@pytest.mark.parametrize("name", RANDOM)
def test_what_is_stored_is_what_the_rows_do_one_by_one(name: str) -> None:
    classifier = named(name)
    found = measure_units(classifier, TEXTS, CLASSES)
    assert mismatch(found, form(classifier.network.config.cell, 8, 4)) is None
    hidden = [hidden_states(classifier, text) for text in TEXTS]
    everything = torch.cat(hidden).double()
    assert found["tokens"] == len(everything)
    assert found["accuracy"] == pytest.approx(
        float((classifier.predict(TEXTS).argmax(1) == torch.tensor(CLASSES)).double().mean()), abs=1e-4
    )
    covariance = torch.cov(everything.t(), correction=0)
    assert found["plane"]["mean"] == pytest.approx(everything.mean(0).tolist(), abs=1e-3)
    variances = torch.linalg.eigvalsh(covariance).flip(0)
    assert found["plane"]["shares"] == pytest.approx((variances / variances.sum()).tolist(), abs=1e-3)
    strongest = torch.tensor(found["plane"]["components"][0]).double()
    assert float(strongest @ covariance @ strongest) == pytest.approx(float(variances[0]), rel=1e-2)
    for unit, measured in enumerate(found["units"]):
        peaks = sorted((float(h[:, unit].abs().max()) for h in hidden if len(h)), reverse=True)
        values = [abs(window["value"]) for window in measured["windows"]]
        assert values == sorted(values, reverse=True)
        assert values[0] <= peaks[0] + 1e-3
        assert unit or values[0] == pytest.approx(peaks[0], rel=1e-3)  # a later unit's row may have given its window
        assert len(values) <= WINDOWS
        for window in measured["windows"]:
            assert any(
                window["class"] == answer
                and " ".join(window["tokens"]) in text
                and float((h[:, unit] - window["value"]).abs().min()) < 1e-3
                for text, answer, h in zip(TEXTS, CLASSES, hidden, strict=True)
                if len(h)
            )


@pytest.mark.parametrize("name", ["lstm-last", "gru-last"])
def test_saturation_counts_every_token(name: str) -> None:
    classifier = named(name)
    found = measure_units(classifier, TEXTS, CLASSES)
    for gate in GATES[classifier.network.config.cell]:
        read = torch.cat([trace(classifier, text).gates[gate] for text in TEXTS])
        for unit, measured in enumerate(found["units"]):
            low, high = ((read[:, unit] < 0.1).float().mean(), (read[:, unit] > 0.9).float().mean())
            assert measured["saturated"][gate] == pytest.approx([float(low), float(high)], abs=1e-4)


def test_what_is_stored_stays_below_a_megabyte_however_many_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_measures, "accuracies_without", lambda network, rows: [0.5] * 1400)  # takes long
    classifier = random_classifier("rnn", hidden=1400, embedding=2)
    rows = [" ".join(f"{'long' * 8}{row}x{i}" for i in range(12)) for row in range(20)]
    found = measure_units(classifier, rows, [row % 4 for row in range(20)])
    assert len(to_json(found)) < LARGEST
    assert 0 < max(len(unit["windows"]) for unit in found["units"]) < WINDOWS
    assert mismatch(found, form("rnn", 1400, 4)) is None


def test_measuring_twice_gives_the_same() -> None:
    classifier = named("lstm-last")
    found = measure_units(classifier, TEXTS, CLASSES)
    assert to_json(found) == to_json(measure_units(classifier, TEXTS, CLASSES))
    assert json.loads(to_json(found)) == found


def test_a_classifier_that_reads_padding_is_refused() -> None:
    with pytest.raises(UserError, match="padding"):
        measure_units(stub("read"), ["up"], [0])


# --------------------------------------------------------------------------------------------------------- one sentence


@pytest.mark.parametrize("name", RANDOM)
def test_a_silenced_unit_is_silent_in_all_that_a_trace_says(name: str) -> None:
    classifier, text = named(name), words(15)
    found = silence(classifier, text, 3)
    assert (found.hidden[:, 3] == 0).all()
    assert torch.allclose(found.hidden, hidden_states(classifier, text, (3,)), atol=1e-6)
    assert torch.allclose(found.contribution.sum(0) + found.bias, found.logits, atol=1e-4)
    if found.cell_contribution is not None:
        assert torch.allclose(found.cell_contribution.sum(0) + found.bias, found.logits, atol=1e-4)
    assert torch.allclose(found.probabilities[-1], found.logits.softmax(0), atol=1e-5)
    assert int(found.order[-1]) == 3 or float(found.hidden[-1].abs().min()) == 0
    assert not torch.allclose(found.logits, trace(classifier, text).logits)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_silenced_unit_has_no_gradient(cell: str) -> None:
    classifier = random_classifier(cell, hidden=1)
    found = silence(classifier, words(5), 0)
    assert found.gradient_norm.tolist() == [0] * 5
    assert found.slope is None
    assert torch.equal(found.logits, found.bias)
    assert trace(classifier, words(5)).gradient_norm.max() > 0


def test_a_unit_that_is_not_there_is_refused() -> None:
    for unit in (-1, 1):
        with pytest.raises(UserError, match="0 to 0"):
            silence(stub(), "up", unit)
        with pytest.raises(UserError, match="no unit"):
            unit_payload(stub(), {}, unit)


def test_a_units_page_has_its_readout() -> None:
    found = unit_payload(stub(), measure_units(stub(), ["up", "down"], [0, 1]), 0)
    assert found["readout"] == [2.0, -2.0]
    assert found["unit"] == 0
    assert found["selectivity"] == 1.0


def test_a_path_begins_at_the_zero_state_and_follows_h() -> None:
    classifier = named("lstm-last")
    units = measure_units(classifier, TEXTS, CLASSES)
    found = trace(classifier, words(6))
    path = project(classifier, units, found)
    mean, components = torch.tensor(units["plane"]["mean"]), torch.tensor(units["plane"]["components"])
    assert len(path.points) == 7
    assert path.points[0] == pytest.approx((components @ -mean).tolist(), abs=1e-5)
    assert path.points[4] == pytest.approx((components @ (found.hidden[3] - mean)).tolist(), abs=1e-5)
    assert path.readouts[2] == pytest.approx((components @ classifier.network.linear.weight[2]).tolist(), abs=1e-5)
    assert len(path.shares) == 2
    json.dumps(path.to_payload(), allow_nan=False)
    assert len(path.rows()) == 8
    assert len(project(classifier, units, trace(classifier, "")).points) == 1
