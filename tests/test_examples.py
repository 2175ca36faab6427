"""Each example's claim, held against the classifiers that ship."""

from __future__ import annotations

import pytest

from app import BUNDLED, EXAMPLES
from lens import Trace, trace
from model import load

BY_TITLE = {example["title"]: example for example in EXAMPLES}


@pytest.fixture(scope="module")
def classifiers():
    return [load(name) for name in BUNDLED]


def read(classifiers, title: str, key: str = "text") -> list[Trace]:
    return [trace(classifier, BY_TITLE[title][key]) for classifier in classifiers]


def verdict(found: Trace) -> str:
    return found.labels[found.predicted]


def test_there_are_six_examples_and_each_says_what_to_look_at():
    assert len(EXAMPLES) == 6
    assert all(example["look"].endswith(".") for example in EXAMPLES)


def test_both_agree_on_the_first_example_from_its_first_word_on(classifiers):
    for found in read(classifiers, "Agreement"):
        assert verdict(found) == "Business"
        assert found.settled == 0


def test_both_hold_early_evidence_through_filler_and_only_the_cell_carries_the_gradient_back(classifiers):
    rnn, lstm = read(classifiers, "Early evidence, then filler")
    for found in (rnn, lstm):
        assert verdict(found) == "Sci/Tech"
        assert found.settled == 0
        assert len(found.tokens) >= 35
    assert rnn.gradient_norm[0] / rnn.gradient_norm[-1] < 0.01
    assert lstm.cell_gradient_norm is not None
    assert lstm.cell_gradient_norm[0] / lstm.cell_gradient_norm[-1] > 0.1


def test_of_two_topics_the_rnn_takes_the_last_and_the_lstm_the_first(classifiers):
    rnn, lstm = read(classifiers, "Two topics")
    assert (verdict(rnn), verdict(lstm)) == ("Sci/Tech", "Sports")


def test_the_same_words_in_another_order_change_both_answers(classifiers):
    example = BY_TITLE["Word order"]
    assert sorted(example["text"].lower().split()) == sorted(example["other"].lower().split())
    one, other = read(classifiers, "Word order"), read(classifiers, "Word order", "other")
    assert [verdict(found) for found in one] == ["World", "World"]
    assert [verdict(found) for found in other] == ["Sports", "Sports"]


def test_four_unknown_words_leave_the_verdict_to_shares_and_buy(classifiers):
    for found in read(classifiers, "Unknown words"):
        assert verdict(found) == "Business"
        assert [token.known for token in found.tokens].count(False) == 4
        words = [token.text for token in found.tokens]
        evidence = found.contribution[:, found.predicted]
        strongest = {words[int(index)] for index in evidence.argsort(descending=True)[:3]}
        assert {"shares", "buy"} <= strongest


def test_both_take_a_riot_for_technology_because_of_windows(classifiers):
    for found in read(classifiers, "Both wrong"):
        assert verdict(found) == "Sci/Tech"
        assert found.tokens[int(found.contribution[:, found.predicted].argmax())].text == "windows"
