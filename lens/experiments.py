"""Questions asked by changing the sentence: order, distance, padding, and two sentences side by side.

Each is a function on a classifier and a text that returns a small frozen result, with `to_payload()` for the browser
and `rows()` for a table. The first answer is what the classifier says of the sentence as it was typed. All changed
sentences are read together, in one batch or a few. What the evidence methods are asked stands in `lens.judging`, what
the same questions give on a whole test set in `lens.findings`.

Shapes: N sentences, K variants of each, T tokens, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import Tensor

from lens.asking import Result, ask, encode, running_verdicts
from lens.trace import read_sentence
from model.classifier import Classifier
from model.text import PADDING_INDEX

SHUFFLES = 50
MOST_WORDS = 100  # neutral words that are put before or after a sentence
MOST_PADDING = 60

# Of a hundred function words those that, read alone, keep any two logits within 0.2 of where the bias has them, in
# both classifiers that ship; in the order, of 3,000 drawn, that drifts least when all are read again and again. What
# they say by themselves is still not nothing, so each result states it.
NEUTRAL = ("has", "been", "of", "but", "on", "an", "have", "with", "a", "to", "as", "than", "for", "in", "the", "who")


# --------------------------------------------------------------------------------------------------------- word order


@dataclass(frozen=True)
class WordOrder(Result):
    """What is left of an answer when the words stand in another order.

    Attributes:
        labels: C names of classes.
        seed: drew the shuffles.
        answer: index of the first answer.
        probability: the first answer's, in the sentence as typed.
        shuffled: K probabilities of the first answer, one a shuffle.
        shuffled_answers: K class indices.
        flips: share of the shuffles with another answer, 0 to 1.
        change: mean of |shuffled - probability|.
        reversed: probability of the first answer when the sentence is read backwards.
        reversed_answer: class index.
    """

    labels: tuple[str, ...]
    seed: int
    answer: int
    probability: float
    shuffled: tuple[float, ...]
    shuffled_answers: tuple[int, ...]
    flips: float
    change: float
    reversed: float
    reversed_answer: int

    def rows(self) -> list[list[Any]]:
        """The sentence as typed, its shuffles and its reversal."""
        shuffles = enumerate(zip(self.shuffled_answers, self.shuffled, strict=True), start=1)
        return [
            ["order", "answer", f"probability of {self.labels[self.answer]}"],
            ["as typed", self.labels[self.answer], self.probability],
            *([f"shuffle {i}", self.labels[answer], p] for i, (answer, p) in shuffles),
            ["reversed", self.labels[self.reversed_answer], self.reversed],
        ]


def word_order(classifier: Classifier, text: str, seed: int = 0, shuffles: int = SHUFFLES) -> WordOrder:
    """Does the order of the words matter, or would a bag of words do?

    The tokens are shuffled, full stops and all, and read again; and once backwards (Pham et al. 2020, arXiv
    2012.15180; Khandelwal et al. 2018, arXiv 1805.04623). An answer that stays says that this sentence can be told
    from its words alone, not that the network keeps no order: it may, where the order decides. One that flips does not
    say that grammar was understood: a shuffled sentence is unlike anything that was trained on.

    Args:
        classifier: any cell and readout.
        text: what was typed.
        seed: draws the shuffles.
        shuffles: how many, at least 1.

    Raises:
        UserError: the classifier reads padding as words.
    """
    generator = torch.Generator().manual_seed(seed)
    probabilities = ask(classifier, orders(encode(classifier, text), shuffles, generator))
    answers = probabilities.argmax(1)
    first = int(answers[0])
    of_first = probabilities[:, first]
    return WordOrder(
        labels=classifier.labels,
        seed=seed,
        answer=first,
        probability=float(of_first[0]),
        shuffled=tuple(of_first[2:].tolist()),
        shuffled_answers=tuple(answers[2:].tolist()),
        flips=float((answers[2:] != first).float().mean()),
        change=float((of_first[2:] - of_first[0]).abs().mean()),
        reversed=float(of_first[1]),
        reversed_answer=int(answers[1]),
    )


def orders(sentence: Sequence[int], shuffles: int, generator: torch.Generator) -> list[list[int]]:
    """The sentence, its reversal, and so many shuffles."""
    drawn = [torch.randperm(len(sentence), generator=generator).tolist() for _ in range(shuffles)]
    return [list(sentence), list(sentence[::-1]), *([sentence[i] for i in order] for order in drawn)]


# ----------------------------------------------------------------------------------------------------------- distance


@dataclass(frozen=True)
class Distance(Result):
    """An answer against the number of neutral words after and before the sentence; entry n is n words.

    Attributes:
        labels: C names of classes.
        neutral: the words, read over and over in this order.
        known: how many of them the classifier knows; the others are one and the same unknown word to it.
        answer: index of the first answer.
        after, before: 0 to 100 words: probability of the first answer.
        after_answers, before_answers: class indices.
        alone: for each number of words the C probabilities of these words without any sentence: their own evidence.
        spread: the farthest that they alone bring two logits apart, beyond the bias, at any number of words.
    """

    labels: tuple[str, ...]
    neutral: tuple[str, ...]
    known: int
    answer: int
    after: tuple[float, ...]
    after_answers: tuple[int, ...]
    before: tuple[float, ...]
    before_answers: tuple[int, ...]
    alone: tuple[tuple[float, ...], ...]
    spread: float

    def rows(self) -> list[list[Any]]:
        """A row for each number of words."""
        label = self.labels[self.answer]
        header = ["neutral words", f"probability of {label}, words after", "answer, words after"]
        header += [f"probability of {label}, words before", "answer, words before"]
        header += [f"probability of {name}, words alone" for name in self.labels]
        columns = zip(self.after, self.after_answers, self.before, self.before_answers, self.alone, strict=True)
        return [
            header,
            *([n, a, self.labels[i], b, self.labels[j], *alone] for n, (a, i, b, j, alone) in enumerate(columns)),
        ]


def distance(classifier: Classifier, text: str, most: int = MOST_WORDS) -> Distance:
    """How long does an answer last once the sentence is over?

    0 to 100 neutral words follow the sentence, and in a second curve precede it (after Hochreiter and Schmidhuber
    1997, whose networks had to carry something past distractors). Words after it measure what the state keeps; the
    words before it are the control, as long and as odd, with nothing to keep. Neutral words are a fixed list with
    little evidence of their own, and `alone` is what they say without a sentence: where the curve only approaches
    that, the sentence is forgotten; where `alone` favours the first answer, a curve that stays high shows nothing. The
    words make no sentence, and nothing of the kind was trained on.

    Args:
        classifier: any cell and readout.
        text: what was typed.
        most: the largest number of words.

    Raises:
        UserError: the classifier reads padding as words.
    """
    sentence, counts = encode(classifier, text), range(most + 1)
    probabilities = ask(classifier, with_neutral(classifier, sentence, counts))
    answers = probabilities.argmax(1)
    first = int(answers[0])
    alone = neutral_alone(classifier, most)
    return Distance(
        labels=classifier.labels,
        neutral=NEUTRAL,
        known=sum(word in classifier.vocabulary for word in NEUTRAL),
        answer=first,
        after=tuple(probabilities[: most + 1, first].tolist()),
        after_answers=tuple(answers[: most + 1].tolist()),
        before=tuple(probabilities[most + 1 :, first].tolist()),
        before_answers=tuple(answers[most + 1 :].tolist()),
        alone=tuple(map(tuple, alone.tolist())),
        spread=spread(alone),
    )


def neutral_words(classifier: Classifier, count: int) -> list[int]:
    """Indices of so many neutral words, the list over and over."""
    indices = classifier.vocabulary.encode(NEUTRAL)
    return [indices[i % len(indices)] for i in range(count)]


def with_neutral(classifier: Classifier, sentence: Sequence[int], counts: Sequence[int]) -> list[list[int]]:
    """The sentence with each number of neutral words after it, then with each before it."""
    words = {count: neutral_words(classifier, count) for count in counts}
    return [[*sentence, *words[n]] for n in counts] + [[*words[n], *sentence] for n in counts]


def neutral_alone(classifier: Classifier, most: int) -> Tensor:
    """Probabilities of 0 to `most` neutral words without a sentence, `(most + 1, C)`."""
    nothing = ask(classifier, [[]])
    return torch.cat([nothing, *running_verdicts(classifier, [neutral_words(classifier, most)])])


def spread(probabilities: Tensor) -> float:
    """How far two logits are moved apart at most, from where row 0 has them, `(K, C)`."""
    logs = probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()
    moved = logs - logs[0]  # logits minus bias, up to a number that all classes share
    return float((moved.amax(1) - moved.amin(1)).max())


# ------------------------------------------------------------------------------------------------------------ padding


@dataclass(frozen=True)
class Padding(Result):
    """An answer against the number of padding tokens that are read as if they were words; entry n is n of them.

    Attributes:
        labels: C names of classes.
        answer: index of the first answer, which is the packed reading's.
        packed: its probability when padding is ignored, however much there is.
        padded: 0 to 60 padding tokens: its probability.
        padded_answers: class indices.
        flips_at: the smallest number of padding tokens that changes the answer, or None.
        padding_norm: length of the vector of <pad>. It is 0 where padding was ignored in training: then padding feeds
            nothing in, and what the answer loses it loses to the recurrence and its bias.
    """

    labels: tuple[str, ...]
    answer: int
    packed: float
    padded: tuple[float, ...]
    padded_answers: tuple[int, ...]
    flips_at: int | None
    padding_norm: float

    def rows(self) -> list[list[Any]]:
        """A row for each number of padding tokens."""
        label = self.labels[self.answer]
        read = enumerate(zip(self.padded, self.padded_answers, strict=True))
        return [
            ["padding tokens", f"probability of {label}, padding read", "answer, padding read", "padding ignored"],
            *([n, p, self.labels[answer], self.packed] for n, (p, answer) in read),
        ]


def padding(classifier: Classifier, text: str, most: int = MOST_PADDING) -> Padding:
    """What does it cost to read padding as words?

    Texts of a batch are filled up to the longest with <pad>. A verdict read from the last column has then seen the
    padding too, and depends on which texts happen to be in the batch. A packed sequence stops at its own last token,
    and that is why packing exists. Here 0 to 60 <pad> are read after the sentence. This classifier was not trained
    so: one that is learns to bear some of it, at a cost of its own, which the notebook's recipes show.

    Args:
        classifier: any cell and readout.
        text: what was typed.
        most: the largest number of padding tokens.

    Raises:
        UserError: the classifier reads padding as words always, so that there is nothing to compare with.
    """
    sentence = encode(classifier, text)
    probabilities = ask(classifier, with_padding(sentence, range(most + 1)))
    answers = probabilities.argmax(1)
    first = int(answers[0])
    flipped = (answers != first).nonzero()
    return Padding(
        labels=classifier.labels,
        answer=first,
        packed=float(probabilities[0, first]),
        padded=tuple(probabilities[:, first].tolist()),
        padded_answers=tuple(answers.tolist()),
        flips_at=int(flipped[0]) if len(flipped) else None,
        padding_norm=float(classifier.network.embedding.weight.detach()[PADDING_INDEX].norm()),
    )


def with_padding(sentence: Sequence[int], counts: Sequence[int]) -> list[list[int]]:
    """The sentence with each number of <pad> after it, as words."""
    return [[*sentence, *[PADDING_INDEX] * count] for count in counts]


# ------------------------------------------------------------------------------------------------------ two sentences


@dataclass(frozen=True)
class TwoSentences(Result):
    """Two texts side by side, token by token.

    Attributes:
        labels: C names of classes.
        first, second: T tokens of each text, as they are looked up.
        pairs: index in the first and in the second text, or None where a token has no partner; in reading order.
        first_verdicts, second_verdicts: `(T, C)`: probabilities if the text stopped after that token.
    """

    labels: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]
    pairs: tuple[tuple[int | None, int | None], ...]
    first_verdicts: tuple[tuple[float, ...], ...]
    second_verdicts: tuple[tuple[float, ...], ...]

    def rows(self) -> list[list[Any]]:
        """A row for each pair."""
        names = list(self.labels)
        nothing = [""] * (1 + len(names))
        return [
            ["first", *names, "second", *names],
            *(
                [
                    *(nothing if i is None else [self.first[i], *self.first_verdicts[i]]),
                    *(nothing if j is None else [self.second[j], *self.second_verdicts[j]]),
                ]
                for i, j in self.pairs
            ),
        ]


def two_sentences(classifier: Classifier, first: str, second: str) -> TwoSentences:
    """Where do the verdicts on two texts part?

    Tokens are aligned by their longest common runs (`difflib.SequenceMatcher`); in between, different tokens are
    paired in order. A verdict before the end is a probe: the readout was trained on whole texts. Two texts that differ
    in one word show what this word does here, not what it does elsewhere.

    Args:
        classifier: any cell and readout.
        first: a text.
        second: another, of any length.

    Raises:
        UserError: the classifier reads padding as words.
    """
    words = [tuple(token.text for token in read_sentence(classifier, text)[0]) for text in (first, second)]
    verdicts = running_verdicts(classifier, [classifier.vocabulary.encode(some) for some in words])
    return TwoSentences(
        labels=classifier.labels,
        first=words[0],
        second=words[1],
        pairs=tuple(align(*words)),
        first_verdicts=tuple(map(tuple, verdicts[0].tolist())),
        second_verdicts=tuple(map(tuple, verdicts[1].tolist())),
    )


def align(first: Sequence[str], second: Sequence[str]) -> list[tuple[int | None, int | None]]:
    """Pairs of indices in reading order; None where one side has no token left to pair."""
    pairs: list[tuple[int | None, int | None]] = []
    for _, i, end, j, other_end in SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        both = min(end - i, other_end - j)
        pairs += [(i + k, j + k) for k in range(both)]
        pairs += [(k, None) for k in range(i + both, end)]
        pairs += [(None, k) for k in range(j + both, other_end)]
    return pairs
