"""The experiments' numbers, worked out by hand on a classifier of six numbers, and together as one by one."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest
import torch
from small import RANDOM, named, words
from stub import LABELS, UNKNOWN_VALUE, VALUES, probability, states, stub, values

from lens.asking import Result, ask, encode, running_verdicts
from lens.attribution import METHODS, evidence, faithfulness, kendall
from lens.experiments import NEUTRAL, align, distance, orders, padding, spread, two_sentences, word_order
from lens.judging import Judged, best_first, points_into, referee, twin, two_halves
from model.classifier import Classifier
from model.config import UserError

EMPTY = ""


# ------------------------------------------------------------------------------------------------------------ the order


def test_two_words_have_two_orders() -> None:
    found = word_order(stub(), "hot cold", seed=3)
    typed, backwards = probability(values("hot cold")), probability(values("cold hot"))
    assert found.answer == 0
    assert found.probability == pytest.approx(typed, abs=1e-6)
    assert found.reversed == pytest.approx(backwards, abs=1e-6)
    assert len(found.shuffled) == 50
    swapped = [abs(p - backwards) < 1e-5 for p in found.shuffled]
    assert 10 < sum(swapped) < 40
    assert all(swap or abs(p - typed) < 1e-5 for swap, p in zip(swapped, found.shuffled, strict=True))
    assert found.change == pytest.approx(sum(swapped) / 50 * abs(backwards - typed), abs=1e-6)
    assert found.flips == 0


def test_an_order_that_decides_flips_the_answer() -> None:
    found = word_order(stub(), "down up")  # the last word wins
    assert found.answer == 0
    assert found.reversed_answer == 1
    others = [answer != 0 for answer in found.shuffled_answers]
    assert found.flips == pytest.approx(sum(others) / 50)
    assert 0 < found.flips < 1


def test_shuffles_are_of_the_same_words_and_drawn_by_the_seed() -> None:
    sentence = list(range(9))
    drawn = orders(sentence, 20, torch.Generator().manual_seed(1))
    assert drawn[:2] == [sentence, sentence[::-1]]
    assert all(sorted(order) == sentence for order in drawn)
    assert len({tuple(order) for order in drawn}) > 15
    classifier = named("lstm-last")
    assert word_order(classifier, words(20), 1) == word_order(classifier, words(20), 1)
    assert word_order(classifier, words(20), 1).shuffled != word_order(classifier, words(20), 2).shuffled


# --------------------------------------------------------------------------------------------------------- the distance


def test_neutral_words_after_and_before_by_hand() -> None:
    found = distance(stub(), "hot", most=20)
    neutral = [VALUES.get(NEUTRAL[i % len(NEUTRAL)], UNKNOWN_VALUE) for i in range(20)]
    for n in range(21):
        assert found.after[n] == pytest.approx(probability([2.0, *neutral[:n]]), abs=1e-6)
        assert found.before[n] == pytest.approx(probability([*neutral[:n], 2.0]), abs=1e-6)
        assert found.alone[n][0] == pytest.approx(probability(neutral[:n]), abs=1e-6)
    assert found.known == sum(word in VALUES for word in NEUTRAL) == 2
    assert found.spread == pytest.approx(max(4 * abs(h) for h in states(neutral)), abs=1e-5)
    assert distance(stub(), "hot").after[:21] == pytest.approx(found.after)


def test_the_neutral_words_of_a_sentence_at_the_limit_are_all_read() -> None:
    long = " ".join(["cold"] * 300)
    found = distance(stub(), long, most=100)
    assert found.before[100] == pytest.approx(1 - probability([-0.5] * 256), abs=1e-5)
    assert found.before[100] != pytest.approx(found.alone[100][1], abs=1e-2)


def test_neutral_words_are_words_of_their_own() -> None:
    assert len(set(NEUTRAL)) == len(NEUTRAL)
    assert all(word.isalpha() and word == word.lower() for word in NEUTRAL)


def test_spread_leaves_out_what_the_bias_says() -> None:
    logits = torch.tensor([[3.0, 0.0, 1.0], [3.5, 0.0, 1.0], [3.0, 0.2, 0.9]])
    assert spread(logits.softmax(1)) == pytest.approx(0.5, abs=1e-5)
    assert math.isfinite(spread(torch.tensor([[0.5, 0.5], [1.0, 0.0]])))


# ---------------------------------------------------------------------------------------------------------- the padding


def test_padding_read_as_words_by_hand() -> None:
    found = padding(stub(), "down down")
    assert found.answer == 1
    assert found.packed == pytest.approx(1 - probability([-1.0, -1.0]), abs=1e-6)
    for n, p in enumerate(found.padded):
        assert p == pytest.approx(1 - probability([-1.0, -1.0] + [0.0] * n), abs=1e-6)
    assert len(found.padded) == 61
    flipped = next(n for n in range(61) if probability([-1.0, -1.0] + [0.0] * n) > 0.5)
    assert found.flips_at == flipped
    assert found.padding_norm == 0
    assert padding(stub(), "up").flips_at is None


def test_a_vector_of_padding_that_is_not_zero_is_stated() -> None:
    classifier = stub()
    with torch.no_grad():
        classifier.network.embedding.weight[1] = -3.0
    found = padding(classifier, "up", most=1)
    assert found.padding_norm == pytest.approx(3)
    assert found.padded[1] == pytest.approx(probability([1.0, -3.0]), abs=1e-6)
    assert found.packed == pytest.approx(probability([1.0]), abs=1e-6)


# -------------------------------------------------------------------------------------------------------- two sentences


@pytest.mark.parametrize(
    ("first", "second", "pairs"),
    [
        ("a b c", "a b c", [(0, 0), (1, 1), (2, 2)]),
        ("a b c", "a x c", [(0, 0), (1, 1), (2, 2)]),
        ("a b c", "a c", [(0, 0), (1, None), (2, 1)]),
        ("a c", "a b c", [(0, 0), (None, 1), (1, 2)]),
        ("a b b c", "a x c", [(0, 0), (1, 1), (2, None), (3, 2)]),
        ("", "a", [(None, 0)]),
        ("", "", []),
    ],
)
def test_tokens_are_paired_in_reading_order(
    first: str, second: str, pairs: list[tuple[int | None, int | None]]
) -> None:
    assert align(first.split(), second.split()) == pairs


def test_a_common_word_of_a_long_text_still_pairs() -> None:
    long = ["the"] * 250
    assert align(long, long) == [(i, i) for i in range(250)]


def test_verdicts_of_two_sentences_by_hand() -> None:
    found = two_sentences(stub(), "the hot up", "the down")
    assert found.pairs == ((0, 0), (1, 1), (2, None))
    for text, verdicts in (("the hot up", found.first_verdicts), ("the down", found.second_verdicts)):
        for t, verdict in enumerate(verdicts):
            p = probability(values(text)[: t + 1])
            assert verdict == pytest.approx([p, 1 - p], abs=1e-6)
    assert found.rows()[-1] == ["up", *found.first_verdicts[2], "", "", ""]


# ----------------------------------------------------------------------------------------------------------- two halves


def test_where_scores_point_by_hand() -> None:
    inside = torch.tensor([False, True, True])
    assert points_into(torch.tensor([1.0, 3.0, -5.0]), inside) == (True, 0.75)
    assert points_into(torch.tensor([2.0, 2.0, 0.0]), inside) == (False, 0.5)
    assert points_into(torch.tensor([-1.0, -2.0, -3.0]), inside) == (False, None)


def test_the_last_half_wins_and_the_ledger_knows_both() -> None:
    found = two_halves(stub(), "hot hot", "down down")
    assert found.answers == (0, 1)
    assert found.winners == (1, 0)
    assert found.probabilities[0][0] == pytest.approx(probability([2.0, 2.0, -1.0, -1.0]), abs=1e-6)
    assert found.probabilities[1][0] == pytest.approx(probability([-1.0, -1.0, 2.0, 2.0]), abs=1e-6)
    assert len(found.pointing) == 2 * 2 * len(METHODS)
    for one in found.pointing:
        if one.method == "ledger":
            h = states(values("hot hot down down" if one.order == 0 else "down down hot hot"))
            sign = 1 if one.half == 0 else -1
            changes = [sign * (after - before) for after, before in zip(h, [0.0, *h[:-1]], strict=True)]
            positive = [max(0.0, change) for change in changes]
            mine = positive[:2] if one.half == one.order else positive[2:]
            assert one.mass == pytest.approx(sum(mine) / sum(positive), abs=1e-5)
            assert one.hit == (max(changes) in mine)


def test_halves_of_one_class_or_of_no_words_are_refused() -> None:
    with pytest.raises(UserError, match="'Rise'"):
        two_halves(stub(), "up", "hot")
    with pytest.raises(UserError, match="no words"):
        two_halves(stub(), "up", " ")


def test_long_halves_share_what_is_read() -> None:
    found = two_halves(stub(), " ".join(["hot"] * 400), " ".join(["down"] * 400))
    assert [len(text.split()) for text in found.texts] == [128, 128]
    assert found.winners == (1, 0)


# -------------------------------------------------------------------------------------------------------------- referee


def test_the_referee_says_what_evidence_and_faithfulness_say() -> None:
    classifier, text = named("gru-last"), words(12)
    other = twin(classifier, 5)
    found = referee(classifier, text, seed=5)
    assert {judged.method for judged in found.methods} == set(METHODS)
    for judged in found.methods:
        scores = evidence(classifier, text, method=judged.method)
        faithful = faithfulness(classifier, text, scores)
        assert found.target == scores.target
        assert judged.comprehensiveness == pytest.approx(faithful.comprehensiveness, abs=1e-6)
        assert judged.sufficiency == pytest.approx(faithful.sufficiency, abs=1e-6)
        assert judged.agreement == pytest.approx(faithful.agreement, abs=0.05)
        untrained = evidence(other, text, classifier.labels[scores.target], judged.method)
        assert judged.twin == pytest.approx(kendall(scores.scores, untrained.scores))
    assert next(judged.agreement for judged in found.methods if judged.method == "deletion") == 1


def test_the_best_by_its_three_ranks_comes_first() -> None:
    first, second = Judged("a", 0.1, 0.3, 0.4, None), Judged("b", 0.2, 0.4, 0.1, None)
    unknown = Judged("c", None, None, None, None)
    assert best_first([unknown, first, second]) == [second, first, unknown]


def test_a_twin_has_the_form_and_not_the_weights() -> None:
    classifier = named("lstm-max")
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    one, same, other = twin(classifier, 1), twin(classifier, 1), twin(classifier, 2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.network.config == classifier.network.config
    for name, weight in one.network.state_dict().items():
        assert torch.equal(weight, same.network.state_dict()[name])
    assert not torch.equal(one.network.linear.weight, other.network.linear.weight)
    assert not torch.equal(one.network.linear.weight, classifier.network.linear.weight)


# ---------------------------------------------------------------------------------------------------------- all of them


def everything(classifier: Classifier, text: str) -> list[Result]:
    return [
        word_order(classifier, text),
        distance(classifier, text, most=7),
        padding(classifier, text, most=5),
        two_sentences(classifier, text, text + " w1"),
        referee(classifier, text),
    ]


@pytest.mark.parametrize("text", [EMPTY, "w1", words(6)])
@pytest.mark.parametrize("name", ["rnn-last", "lstm-mean", "gru-max"])
def test_every_result_is_json_and_a_table(name: str, text: str) -> None:
    for result in everything(named(name), text):
        payload = result.to_payload()
        assert json.loads(json.dumps(payload, allow_nan=False)) == payload
        header, *rows = list(csv.reader(io.StringIO(result.to_csv())))
        assert all(len(row) == len(header) for row in rows)
        assert len(rows) == len(result.rows()) - 1


def test_two_halves_are_json_and_a_table() -> None:
    result = two_halves(stub(), "hot up", "cold down")
    payload = result.to_payload()
    assert json.loads(json.dumps(payload, allow_nan=False)) == payload
    assert payload["pointing"][0]["method"] == "ledger"
    assert payload["labels"] == list(LABELS)
    header, *rows = list(csv.reader(io.StringIO(result.to_csv())))
    assert len(rows) == 20
    assert all(len(row) == len(header) for row in rows)


def test_a_lone_surrogate_and_a_comma_survive_the_table() -> None:
    result = two_sentences(stub(), "up\ud800 a,b", "up")
    result.to_csv().encode()
    json.dumps(result.to_payload()).encode()
    assert ["a", ","] in [[row[0] for row in list(csv.reader(io.StringIO(result.to_csv())))][2:4]]


@pytest.mark.parametrize("name", RANDOM)
def test_asked_together_is_asked_one_by_one(name: str) -> None:
    classifier = named(name)
    sentences = [encode(classifier, words(count)) for count in (0, 1, 5, 17, 40)]
    together = ask(classifier, sentences)
    for sentence, probabilities in zip(sentences, together, strict=True):
        assert torch.allclose(ask(classifier, [sentence])[0], probabilities, atol=1e-6)
    for sentence, verdicts in zip(sentences, running_verdicts(classifier, sentences), strict=True):
        assert len(verdicts) == len(sentence)
        for t, verdict in enumerate(verdicts):
            assert torch.allclose(verdict, ask(classifier, [sentence[: t + 1]])[0], atol=1e-5)


def test_a_classifier_that_reads_padding_is_refused_by_all() -> None:
    for question in (word_order, distance, padding, referee):
        with pytest.raises(UserError, match="padding"):
            question(stub("read"), "up")
    for question in (two_sentences, two_halves):
        with pytest.raises(UserError, match="padding"):
            question(stub("read"), "up", "down")
