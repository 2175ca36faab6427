"""Evidence is what its method's paper says, by hand and by other people's programs."""

from __future__ import annotations

import json
import math

import pytest
import torch
from captum.attr import IntegratedGradients
from scipy.stats import kendalltau
from small import ALL, LABELS, SENTENCE, named, random_classifier, words
from torch import Tensor

from lens import trace
from lens.attribution import (
    BASELINES,
    METHODS,
    MOST_STEPS,
    SHARES,
    TOKENS_AT_ONCE,
    best_tokens,
    evidence,
    faithfulness,
    gradient_times_input,
    integrated_gradients,
    kendall,
)
from model.classifier import Classifier
from model.config import CELLS, READOUTS, UserError


def logits(classifier: Classifier, sentence: list[str]) -> Tensor:
    """What the network itself says of one sentence, `(C,)`."""
    indices = torch.tensor([classifier.vocabulary.encode(sentence) or [1]])
    with torch.no_grad():
        return classifier.network(indices, torch.tensor([len(sentence)]))[0]


# --------------------------------------------------------------------------------------------------------- by hand


def square_and_line(batch: Tensor) -> Tensor:
    """x_0^2 + 3 x_1 of two tokens of one number."""
    return batch[:, 0, 0] ** 2 + 3 * batch[:, 1, 0]


def test_gradients_by_hand() -> None:
    vectors = torch.tensor([[2.0], [1.0]])
    assert gradient_times_input(square_and_line, vectors).tolist() == [8.0, 3.0]
    scores, error, steps = integrated_gradients(square_and_line, vectors, torch.zeros(2, 1))
    assert scores.tolist() == pytest.approx([4.0, 3.0])
    assert error == pytest.approx(0, abs=1e-6)
    assert steps == 64
    scores, _, _ = integrated_gradients(square_and_line, vectors, torch.ones(2, 1))
    assert scores.tolist() == pytest.approx([3.0, 0.0])


def test_steps_are_doubled_until_the_sum_is_near() -> None:
    def steep(batch: Tensor) -> Tensor:
        return 10 * ((batch[:, 0, 0] - 0.5) * 300).sigmoid()

    _, error, steps = integrated_gradients(steep, torch.ones(1, 1), torch.zeros(1, 1))
    assert 64 < steps <= MOST_STEPS
    assert error <= 0.05


def test_an_error_that_stays_is_reported_and_not_scaled_away() -> None:
    def cliff(batch: Tensor) -> Tensor:  # jumps by 2, and its gradient knows of 1 alone
        x = batch[:, 0, 0]
        return x + (x > 0.3).to(x)

    scores, error, steps = integrated_gradients(cliff, torch.ones(1, 1), torch.zeros(1, 1))
    assert scores.tolist() == pytest.approx([1.0])
    assert error == pytest.approx(0.5)
    assert steps == MOST_STEPS


def test_the_error_is_relative_to_a_tenth_at_least() -> None:
    def small_cliff(batch: Tensor) -> Tensor:
        return 0.02 * (batch[:, 0, 0] > 0.3).to(batch) + 0 * batch[:, 0, 0]

    _, error, _ = integrated_gradients(small_cliff, torch.ones(1, 1), torch.zeros(1, 1))
    assert error == pytest.approx(0.2)


def test_batches_of_the_path_are_bounded() -> None:
    seen: list[int] = []

    def score(batch: Tensor) -> Tensor:
        seen.append(batch.shape[0] * batch.shape[1])
        return batch.sum((1, 2))

    for length in (1, 40, 256):
        integrated_gradients(score, torch.ones(length, 2), torch.zeros(length, 2))
    assert max(seen) <= TOKENS_AT_ONCE


def test_best_tokens_by_hand() -> None:
    scores = torch.tensor([0.1, 0.9, -5.0, 0.9, 0.3])
    assert best_tokens(scores, (0.01, 0.2, 0.4, 0.5, 1.0)) == [{1}, {1}, {1, 3}, {1, 3, 4}, {0, 1, 2, 3, 4}]
    assert len(best_tokens(torch.arange(15.0), (0.2,))[0]) == 3


# ---------------------------------------------------------------------------------------------------------- oracles


def test_kendall_is_scipys() -> None:
    generator = torch.Generator().manual_seed(0)
    for size in (2, 3, 10, 50):
        for levels in (2, 5, 1000):
            a, b = (torch.randint(levels, (size,), generator=generator).float() for _ in range(2))
            expected = kendalltau(a.numpy(), b.numpy()).statistic
            ours = kendall(a, b)
            assert math.isnan(expected) if ours is None else ours == pytest.approx(expected)
    assert kendall(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([3.0, 2.0, 1.0])) == -1
    assert kendall(torch.tensor([1.0]), torch.tensor([1.0])) is None


@pytest.mark.parametrize("name", ALL)
def test_integrated_gradients_are_captums(name: str) -> None:
    classifier = named(name)
    ours = evidence(classifier, SENTENCE)
    indices = torch.tensor([classifier.vocabulary.encode(SENTENCE.split())])
    vectors = classifier.network.embedding(indices).detach()
    lengths = torch.tensor([indices.shape[1]])

    def forward(batch: Tensor) -> Tensor:
        return classifier.network.classify(batch, lengths.expand(len(batch)))

    theirs = IntegratedGradients(forward).attribute(
        vectors, torch.zeros_like(vectors), target=ours.target, n_steps=ours.steps, method="riemann_middle"
    )
    assert torch.allclose(ours.scores, theirs[0].sum(1).float(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("name", ALL)
def test_integrated_gradients_are_complete(name: str, baseline: str) -> None:
    found = evidence(named(name), SENTENCE, baseline=baseline)
    difference = found.logit - found.start
    assert found.error <= 0.05
    assert found.error == pytest.approx(
        abs(float(found.scores.sum()) - difference) / max(abs(difference), 0.1), abs=1e-4
    )
    assert found.baseline == baseline


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_baseline_is_what_it_is_called(baseline: str) -> None:
    classifier = random_classifier("lstm")
    weight = classifier.network.embedding.weight.detach()
    vector = {"zero": torch.zeros(6), "unknown": weight[0], "mean": torch.cat([weight[:1], weight[2:]]).mean(0)}[
        baseline
    ]
    found = evidence(classifier, words(7), baseline=baseline)
    with torch.no_grad():
        start = classifier.network.classify(vector.expand(1, 7, 6), torch.tensor([7]))[0, found.target]
    assert found.start == pytest.approx(float(start), abs=1e-5)


def test_unknown_words_are_no_evidence_beside_the_unknown_word() -> None:
    found = evidence(random_classifier("gru"), "qq zz qq", baseline="unknown")
    assert found.scores.tolist() == [0, 0, 0]
    assert found.error == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("length", [1, 9])
@pytest.mark.parametrize("name", ALL)
def test_deletion_and_replacement_ask_the_network_again(name: str, length: int) -> None:
    classifier, text = named(name), words(length)
    sentence = text.split()
    deleted, replaced = (evidence(classifier, text, method=method) for method in ("deletion", "replacement"))
    whole = logits(classifier, sentence)[deleted.target]
    for i in range(length):
        without = logits(classifier, sentence[:i] + sentence[i + 1 :])[deleted.target]
        unknown = logits(classifier, [*sentence[:i], "<unk>", *sentence[i + 1 :]])[deleted.target]
        assert float(deleted.scores[i]) == pytest.approx(float(whole - without), abs=1e-4)
        assert float(replaced.scores[i]) == pytest.approx(float(whole - unknown), abs=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_the_ledgers_evidence_is_the_traces(name: str) -> None:
    classifier = named(name)
    found, t = evidence(classifier, SENTENCE, method="ledger"), trace(classifier, SENTENCE)
    assert torch.allclose(found.scores, t.contribution[:, t.target], rtol=0, atol=1e-6)
    assert found.start + float(found.scores.sum()) == pytest.approx(found.logit, abs=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_faithfulness_is_erasers(cell: str) -> None:
    classifier, text = random_classifier(cell), words(15)
    sentence = text.split()
    found = evidence(classifier, text)
    measured = faithfulness(classifier, text, found)

    def probability(words: list[str]) -> float:
        return float(logits(classifier, words).softmax(0)[found.target])

    counts = [1, 1, 2, 3, 8]  # 1, 5, 10, 20 and 50 % of 15 tokens, rounded up
    assert len(counts) == len(SHARES)
    order = sorted(range(15), key=lambda i: -float(found.scores[i]))
    drops, keeps = [], []
    for count in counts:
        best = set(order[:count])
        drops.append(probability(sentence) - probability([w for i, w in enumerate(sentence) if i not in best]))
        keeps.append(probability(sentence) - probability([w for i, w in enumerate(sentence) if i in best]))
    assert measured.comprehensiveness == pytest.approx(sum(drops) / 5, abs=1e-5)
    assert measured.sufficiency == pytest.approx(sum(keeps) / 5, abs=1e-5)
    deleted = evidence(classifier, text, method="deletion").scores
    assert measured.agreement == pytest.approx(kendalltau(found.scores.numpy(), deleted.numpy()).statistic)


@pytest.mark.parametrize("readout", READOUTS)
def test_deletion_agrees_with_itself(readout: str) -> None:
    classifier = random_classifier("lstm", readout)
    found = evidence(classifier, SENTENCE, method="deletion")
    assert faithfulness(classifier, SENTENCE, found).agreement == pytest.approx(1.0, abs=0.02)


# ----------------------------------------------------------------------------------------------- sentences and mistakes


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ALL)
def test_an_empty_sentence_has_no_evidence(name: str, method: str) -> None:
    classifier = named(name)
    found = evidence(classifier, "", method=method)
    assert found.scores.shape == (0,)
    assert found.logit == classifier.network.linear.bias.max().item()
    assert faithfulness(classifier, "", found).to_payload() == dict.fromkeys(
        ("comprehensiveness", "sufficiency", "agreement")
    )
    json.dumps(found.to_payload(), allow_nan=False)


@pytest.mark.parametrize("method", METHODS)
def test_the_class_can_be_chosen(method: str) -> None:
    classifier = random_classifier("lstm")
    found = [evidence(classifier, SENTENCE, label, method) for label in LABELS]
    assert [f.target for f in found] == [0, 1, 2, 3]
    whole = logits(classifier, SENTENCE.split())
    assert [f.logit for f in found] == pytest.approx(whole.tolist(), abs=1e-5)
    assert all(f.method == method and f.scores.dtype == torch.float32 for f in found)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"method": "magic"}, "ledger, integrated gradients, deletion"),
        ({"baseline": "black"}, "zero, unknown, mean"),
        ({"target": "Weather"}, "World, Sports"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(wrong: dict[str, str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        evidence(random_classifier("rnn"), SENTENCE, **wrong)


def test_scores_of_another_sentence_are_refused() -> None:
    classifier = random_classifier("rnn")
    with pytest.raises(ValueError, match="scores for"):
        faithfulness(classifier, "one", evidence(classifier, SENTENCE))
