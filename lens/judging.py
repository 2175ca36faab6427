"""Questions asked of the evidence methods: do they point where the evidence is, and which can be believed?

Shapes: T tokens, C classes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lens.asking import Result, ask
from lens.attribution import METHODS, evidence, faithfulness, kendall
from lens.trace import read_sentence
from model.classifier import Classifier
from model.config import UserError
from model.network import RecurrentNetwork
from model.text import MAX_TOKENS

HALVES = ("first", "second")


# --------------------------------------------------------------------------------------------------------- two halves


@dataclass(frozen=True)
class Pointing:
    """Where the evidence for one text's class lies in the joined text.

    Attributes:
        method: one of `lens.attribution.METHODS`.
        order: 0: the first text stands in front; 1: the second does.
        half: whose class is explained: 0 the first text's, 1 the second's.
        hit: whether the token with the highest score lies in that text.
        mass: share of the positive scores that lies in that text; None where no score is positive.
    """

    method: str
    order: int
    half: int
    hit: bool
    mass: float | None


@dataclass(frozen=True)
class TwoHalves(Result):
    """Two texts of different classes, joined in both orders.

    Attributes:
        labels: C names of classes.
        texts: the two, as they are read: at most half of what the classifier reads each.
        answers: class index of each text by itself.
        probabilities: for each order the C probabilities of the joined text. Order 0 has the first text in front.
        winners: for each order which text's class is the answer, 0 or 1, or None where it is neither's.
        pointing: for each method, order and half.
    """

    labels: tuple[str, ...]
    texts: tuple[str, str]
    answers: tuple[int, int]
    probabilities: tuple[tuple[float, ...], tuple[float, ...]]
    winners: tuple[int | None, int | None]
    pointing: tuple[Pointing, ...]

    def rows(self) -> list[list[Any]]:
        """A row for each method, order and half."""
        return [
            [
                "method",
                "in front",
                "winner",
                "explained class",
                "its text",
                "top token in it",
                "share of evidence in it",
            ],
            *(
                [
                    found.method,
                    HALVES[found.order],
                    "neither" if (winner := self.winners[found.order]) is None else HALVES[winner],
                    self.labels[self.answers[found.half]],
                    HALVES[found.half],
                    found.hit,
                    found.mass,
                ]
                for found in self.pointing
            ),
        ]


def two_halves(classifier: Classifier, first: str, second: str) -> TwoHalves:
    """Two headlines that speak for different classes, read as one text: which wins, and who knows why?

    The hybrid documents of Poerner, Roth and Schütze 2018 (arXiv 1801.06422): of a joined text it is known which half
    speaks for which class, so an evidence method asked about one half's class should point into that half. Their
    pointing game counts where the best token lies; here also where the positive evidence lies altogether. A method
    that points into the right half is not thereby right about the word; one that points into the wrong half may be
    right about a network that was misled there. Which half wins is as much about the two headlines as about the place.

    Args:
        classifier: any cell and readout.
        first: a text.
        second: one that the classifier takes for another class.

    Raises:
        UserError: one of them holds no words, both are taken for the same class, or the classifier reads padding as
            words.
    """
    texts = shortened(classifier, first), shortened(classifier, second)
    words = [[token.text for token in read_sentence(classifier, text)[0]] for text in texts]
    if not all(words):
        raise UserError("One of the two texts holds no words: type two headlines.")
    sentences = [classifier.vocabulary.encode(some) for some in words]
    probabilities = ask(classifier, [*sentences, sentences[0] + sentences[1], sentences[1] + sentences[0]])
    one, other, *joined = probabilities.argmax(1).tolist()
    if one == other:
        raise UserError(
            f"By themselves both texts are {classifier.labels[one]!r} for this classifier: choose two on which its "
            "answers differ."
        )
    of_first, of_second = probabilities[2:].tolist()
    return TwoHalves(
        labels=classifier.labels,
        texts=texts,
        answers=(one, other),
        probabilities=(tuple(of_first), tuple(of_second)),
        winners=(winner(joined[0], one, other), winner(joined[1], one, other)),
        pointing=tuple(found for order in (0, 1) for found in point(classifier, texts, (one, other), order)),
    )


def shortened(classifier: Classifier, text: str) -> str:
    """As much of a text as leaves room for another one."""
    tokens, _, _ = read_sentence(classifier, text)
    return text if len(tokens) <= MAX_TOKENS // 2 else text[: tokens[MAX_TOKENS // 2 - 1].end]


def winner(answer: int, first: int, second: int) -> int | None:
    """Whose class an answer is: 0 the first text's, 1 the second's, None neither's."""
    return {first: 0, second: 1}.get(answer)


def point(classifier: Classifier, texts: tuple[str, str], answers: tuple[int, int], order: int) -> list[Pointing]:
    """Asks each method about both texts' classes where they are joined in one order."""
    front, back = (texts[order], texts[1 - order])
    joined = f"{front}\n{back}"
    in_front = torch.tensor([token.start < len(front) for token in read_sentence(classifier, joined)[0]])
    found = []
    for method in METHODS:
        for half in (0, 1):
            scores = evidence(classifier, joined, classifier.labels[answers[half]], method).scores
            hit, mass = points_into(scores, in_front if half == order else ~in_front)
            found.append(Pointing(method, order, half, hit, mass))
    return found


def points_into(scores: Tensor, inside: Tensor) -> tuple[bool, float | None]:
    """Whether scores point into a part of a sentence.

    Args:
        scores: `(T,)`, T at least 1.
        inside: `(T,)` bool, the part.

    Returns:
        Whether the highest score (of equal ones the earliest) lies inside, and the share of the positive scores that
        does; None where none is positive.
    """
    positive = scores.clamp(min=0)
    total = float(positive.sum())
    return bool(inside[scores.argmax()]), float(positive[inside].sum()) / total if total > 0 else None


# ------------------------------------------------------------------------------------------------------------ referee


@dataclass(frozen=True)
class Judged:
    """How far one method's scores of a sentence can be believed; None where the sentence is too short to say.

    Attributes:
        method: one of `lens.attribution.METHODS`.
        agreement: Kendall's tau-b with deletion; 1 for deletion itself, which is the referee.
        comprehensiveness: mean drop of the probability without the best tokens; high is good.
        sufficiency: mean drop with the best tokens alone; low is good.
        twin: Kendall's tau-b with the same method's scores on the twin of random weights; near 0 is good.
    """

    method: str
    agreement: float | None
    comprehensiveness: float | None
    sufficiency: float | None
    twin: float | None


@dataclass(frozen=True)
class Referee(Result):
    """The evidence methods, judged on one sentence.

    Attributes:
        labels: C names of classes.
        target: index of the class that was explained.
        seed: drew the twin's weights.
        methods: best first, by the mean of their ranks in agreement, comprehensiveness and sufficiency.
    """

    labels: tuple[str, ...]
    target: int
    seed: int
    methods: tuple[Judged, ...]

    def rows(self) -> list[list[Any]]:
        """A row for each method."""
        return [
            ["method", "agreement with deletion", "comprehensiveness", "sufficiency", "agreement with the twin"],
            *([m.method, m.agreement, m.comprehensiveness, m.sufficiency, m.twin] for m in self.methods),
        ]


def referee(
    classifier: Classifier, text: str, target: str | None = None, seed: int = 0, other: Classifier | None = None
) -> Referee:
    """Which evidence method should be believed about this sentence?

    Deletion is the referee: what happens when words go can be seen, where other methods calculate. Agreement with it,
    comprehensiveness and sufficiency are those of `lens.attribution.faithfulness` (DeYoung et al. 2020; Atanasova et
    al. 2020). The twin is the sanity check of Adebayo et al. 2018 (arXiv 1810.03292): the same architecture with new
    random weights has learned nothing, so a method whose map stays the same there shows the architecture or the
    sentence, and not what was learned. (They use Spearman's rank correlation; here all are Kendall's.) Deletion is
    judge and party: its agreement is 1 by definition. And a network may do anything with a sentence that has holes.

    Args:
        classifier: any cell and readout.
        text: what was typed.
        target: the label to explain; None means the predicted one.
        seed: draws the twin's weights.
        other: the twin, where it is there already.

    Raises:
        UserError: there is no such label, or the classifier reads padding as words.
    """
    other = other or twin(classifier, seed)
    deletion = evidence(classifier, text, target, "deletion")
    target = classifier.labels[deletion.target]
    judged = []
    for method in METHODS:
        found = deletion if method == "deletion" else evidence(classifier, text, target, method)
        figures = faithfulness(classifier, text, found, deletion)
        untrained = evidence(other, text, target, method)
        judged.append(
            Judged(
                method,
                figures.agreement,
                figures.comprehensiveness,
                figures.sufficiency,
                kendall(found.scores, untrained.scores),
            )
        )
    return Referee(classifier.labels, deletion.target, seed, tuple(best_first(judged)))


def best_first(judged: list[Judged]) -> list[Judged]:
    """Methods by the mean of their three ranks; one that could not be judged comes last in a rank."""

    def place(method: Judged) -> int:
        total = 0
        for name, sign in (("agreement", 1), ("comprehensiveness", 1), ("sufficiency", -1)):
            values = [-torch.inf if (v := getattr(m, name)) is None else sign * v for m in (method, *judged)]
            total += sum(value > values[0] for value in values[1:])
        return total

    return sorted(judged, key=place)


def twin(classifier: Classifier, seed: int) -> Classifier:
    """A classifier of the same architecture, words and labels with new random weights, as training would begin."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = RecurrentNetwork(classifier.network.config)
    untrained = copy.copy(classifier)
    untrained.network = network.to(classifier.device).eval()
    return untrained
