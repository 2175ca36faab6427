"""What the page answers when it is asked about units, two sentences and experiments."""

from __future__ import annotations

import csv
import io
import json
from types import SimpleNamespace

import pytest
from stub import probability, stub, values
from tiny import tiny

from app import BUNDLED, load_classifiers
from lens.units import silence
from model import UserError
from viewer.page import EXPERIMENTS, Page

SENTENCE = "Stocks fell on Monday as oil prices hit a new record."
OTHER = "Chelsea win the cup final."


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(load_classifiers(BUNDLED))


def asked(**question: object) -> SimpleNamespace:
    return SimpleNamespace(_data=question)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_experiment_is_answered_by_both_beside_the_test_rows_and_as_a_table(page, name):
    answer = page.answer_experiment(asked(number=7, name=name, text=SENTENCE, other=OTHER))
    assert (answer["error"], answer["number"], len(answer["models"])) == (None, 7, 2)
    for side, model in enumerate(answer["models"]):
        result = EXPERIMENTS[name](page.classifiers[side], SENTENCE, OTHER, 0)
        assert model["result"] == result.to_payload()
        assert list(csv.reader(io.StringIO(model["csv"]))) == list(csv.reader(io.StringIO(result.to_csv())))
        assert model["test_set"]["rows"] >= (500 if name == "referee" else 1000)
    assert answer["models"] == getattr(page, name)(
        *((SENTENCE, OTHER) if name in ("two_halves", "two_sentences") else (SENTENCE,))
    )
    json.dumps(answer, allow_nan=False)


def test_a_classifier_without_findings_says_which_file_is_missing():
    [answer] = Page([stub()]).word_order("up down the")
    assert answer["test_set"] is None
    assert answer["missing"] == "It has no findings.json: train.py --measure makes it."
    rise = probability(values("up down the"))
    assert answer["result"]["probability"] == pytest.approx(max(rise, 1 - rise), 1e-3)


def test_what_one_network_cannot_be_asked_is_a_sentence_and_the_other_still_answers(page):
    for model in page.two_halves(SENTENCE, SENTENCE):
        assert "By themselves both texts are 'Business'" in model["error"]
        assert model["result"] is None


@pytest.mark.parametrize(
    "question",
    [{}, {"name": 3, "text": "a"}, {"name": "magic", "text": "a"}, {"name": "distance", "text": ["a"]},
     {"name": "word_order", "text": "a", "seed": -1}, {"name": "word_order", "text": "a", "seed": "x"},
     {"name": "word_order", "text": "a", "seed": 2**70}, {"name": "two_halves", "text": "a", "other": None}],
)  # fmt: skip
def test_an_experiment_that_makes_no_sense_is_answered_with_a_sentence(page, question):
    assert page.answer_experiment(asked(**question))["error"].endswith(".")


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("text", ["", " \n"])
def test_of_an_empty_sentence_an_experiment_says_that_there_is_nothing_to_read(page, name, text):
    answer = page.answer_experiment(asked(name=name, text=text, other=OTHER))
    assert answer["error"] == "There is nothing to read: type a sentence."


def test_silencing_shows_the_trace_without_the_unit_and_what_the_whole_network_said(page):
    whole = page.payload(SENTENCE, "Business")["models"][1]
    answer = page.answer(asked(text=SENTENCE, target="Business", units=[None, 5], silenced=[None, 5]))
    left, right = answer["models"]
    assert (left["silenced"], left["before"], left["unit"]) == (None, None, None)
    expected = silence(page.classifiers[1], SENTENCE, 5, "Business").to_payload()
    assert right["trace"] == expected
    assert right["trace"]["probabilities"] != whole["trace"]["probabilities"]
    assert right["before"]["probabilities"] == whole["trace"]["probabilities"]
    assert right["before"]["final"] == pytest.approx(whole["trace"]["probabilities"][-1], abs=1e-3)
    assert (right["unit"]["unit"], right["unit"]["rows"], len(right["unit"]["windows"])) == (5, 7600, 8)


@pytest.mark.parametrize("units", [3, [1], ["1", 2], [True, 1], [None, 64], [-1, None], [1, 2, 3]])
@pytest.mark.parametrize("field", ["units", "silenced"])
def test_units_that_are_not_there_are_refused_in_a_sentence(page, field, units):
    assert page.answer(asked(text="a", **{field: units}))["error"].endswith((".", "63."))


def test_two_sentences_travel_with_the_trace_and_cost_nothing_when_there_is_one(page):
    assert page.payload(SENTENCE)["comparison"] is None
    left, right = page.payload(SENTENCE, other=OTHER)["comparison"]
    assert [left, right] == page.two_sentences(SENTENCE, OTHER)


def test_the_trajectory_has_a_point_for_every_token_and_one_before(page):
    for model in page.payload(SENTENCE)["models"]:
        assert len(model["trajectory"]["points"]) == len(model["trace"]["tokens"]) + 1
    assert Page([tiny("rnn")]).payload("the cup")["models"][0]["trajectory"] is None


def test_the_units_tab_gets_all_units_in_short_and_the_chosen_one_whole(page):
    answer = page.answer_units(asked(units=[None, 3]))
    left, right = answer["models"]
    assert (len(left["units"]), left["unit"], right["unit"]["unit"]) == (64, None, 3)
    assert all(not unit["windows"] for unit in right["units"])
    assert len(right["unit"]["windows"]) == 8
    for nonsense in (None, 3, ["x", {}], [True, 1e9]):
        assert [model["unit"] for model in page.answer_units(asked(units=nonsense))["models"]] == [None, None]


def test_an_experiment_that_is_not_there_is_refused(page):
    with pytest.raises(UserError, match="There is no experiment 'magic'"):
        page.experiment("magic", "a")
