"""The experiments' figures for a whole test set, so that no single sentence stands alone.

They are measured once, stored with the classifier as `findings.json`, and read back when the page asks. A share is
from 0 to 1. `figures` is

::

    flips        share of rows with another answer than the first
    change       mean |probability of the first answer - what it was|
    probability  mean probability of the first answer
    accuracy     share of rows with the right answer
    interval     its 95 % interval (Wilson): [lower, upper]

and the file

::

    format        1
    seed          drew the rows, shuffles, pairs and the twin
    rows          how many test rows were read
    as_typed      figures of the rows as they are
    word_order    {rows, shuffles,
                   shuffled: figures, reversed: figures,
                   shuffled_histogram, reversed_histogram: [20 shares of all variants: probability of the first answer
                   from 0 to 1 in steps of 0.05]}
    distance      {rows, counts: [K numbers of neutral words], after, before: [K figures],
                   neutral: [words], known, alone: [K of [C probabilities] of the words alone], spread: of logits}
    padding       {rows, counts: [K numbers of padding tokens], padded: [K figures],
                   batched: figures where batches of `batch` rows in random order are padded to their longest, batch,
                   padding_norm}
    two_halves    {rows, pairs, front, back, neither: shares of joined texts won by the text in front, at the back,
                   by neither; judged_rows,
                   methods: {method: {cases, hits: share, mass: mean share, front_hits, back_hits: share of hits where
                   the explained text stands in front, at the back}}}
    referee       {rows, methods: {method: {agreement, comprehensiveness, sufficiency, twin: means over the rows that
                   can say}}}
    two_sentences {rows, one_word: figures of rows in which one word, drawn at random, is replaced by a word drawn from
                   other rows: how far apart two sentences are that differ in one word}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from lens.asking import ask, ask_variants, encode, plain
from lens.attribution import METHODS
from lens.experiments import NEUTRAL, neutral_alone, orders, spread, with_neutral, with_padding
from lens.judging import Pointing, point, referee, shortened, twin, winner
from lens.notes import Form, load_note
from model.classifier import Classifier, wilson
from model.text import PADDING_INDEX

FORMAT = 1
FINDINGS = "findings.json"
LARGEST = 2**20  # bytes

ROWS = 2000  # test rows
JUDGED_ROWS = 500  # test rows for what asks every evidence method
SHUFFLES = 10  # of each row; more rows say more than more shuffles of one
NEUTRAL_COUNTS = (0, 1, 2, 5, 10, 20, 50, 100)
PADDING_COUNTS = (0, 1, 2, 5, 10, 20, 40, 60)
BATCH = 16  # the notebook's
BINS = 20  # of a histogram


def load_findings(classifier: Classifier) -> dict[str, Any] | None:
    """The findings that lie beside a classifier's weights; None where none do.

    Raises:
        UserError: the file is damaged, of another format, or about another classifier.
    """
    return load_note(classifier, FINDINGS, form(len(classifier.labels)), FORMAT, LARGEST)


def form(classes: int) -> Form:
    """What `findings.json` must be, for a number of classes."""
    figures = dict.fromkeys(("flips", "change", "probability", "accuracy"), float) | {"interval": [float, 2]}
    share = (float, None)  # of none there is no share
    pointing = {"cases": int} | dict.fromkeys(("hits", "mass", "front_hits", "back_hits"), share)
    judged = dict.fromkeys(("agreement", "comprehensiveness", "sufficiency", "twin"), share)
    return {
        "format": int,
        "seed": int,
        "rows": int,
        "as_typed": figures,
        "word_order": {
            "rows": int,
            "shuffles": int,
            "shuffled": figures,
            "reversed": figures,
            "shuffled_histogram": [float, BINS],
            "reversed_histogram": [float, BINS],
        },
        "distance": {
            "rows": int,
            "counts": [int, len(NEUTRAL_COUNTS)],
            "after": [figures, len(NEUTRAL_COUNTS)],
            "before": [figures, len(NEUTRAL_COUNTS)],
            "neutral": [str],
            "known": int,
            "alone": [[float, classes], len(NEUTRAL_COUNTS)],
            "spread": float,
        },
        "padding": {
            "rows": int,
            "counts": [int, len(PADDING_COUNTS)],
            "padded": [figures, len(PADDING_COUNTS)],
            "batch": int,
            "batched": figures,
            "padding_norm": float,
        },
        "two_halves": {
            "rows": int,
            "pairs": int,
            "front": share,
            "back": share,
            "neither": share,
            "judged_rows": int,
            "methods": dict.fromkeys(METHODS, pointing),
        },
        "referee": {"rows": int, "methods": dict.fromkeys(METHODS, judged)},
        "two_sentences": {"rows": int, "one_word": figures},
    }


# ------------------------------------------------------------------------------------------------------------ measure


def measure(
    classifier: Classifier,
    texts: Sequence[str],
    classes: Sequence[int],
    seed: int = 0,
    rows: int = ROWS,
    judged_rows: int = JUDGED_ROWS,
) -> dict[str, Any]:
    """Asks all experiments about test rows.

    Args:
        classifier: any cell and readout.
        texts: the test rows, at least one.
        classes: the right answer of each.
        seed: draws the rows that are asked about, and all that the experiments draw.
        rows: how many rows to ask about, or all there are.
        judged_rows: how many of these to ask every evidence method about.

    Returns:
        What `findings.json` holds.

    Raises:
        UserError: the classifier reads padding as words.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(texts), generator=generator)[:rows].tolist()
    some = [texts[i] for i in drawn]
    right = torch.tensor([classes[i] for i in drawn])
    sentences = [encode(classifier, text) for text in some]
    first = ask(classifier, sentences)
    whole = {
        "format": FORMAT,
        "seed": seed,
        "rows": len(sentences),
        "as_typed": figures(first.unsqueeze(1), first, right),
        "word_order": _word_order(classifier, sentences, first, right, generator),
        "distance": _distance(classifier, sentences, first, right),
        "padding": _padding(classifier, sentences, first, right, generator),
        "two_halves": _two_halves(classifier, some, judged_rows),
        "referee": _referee(classifier, some[:judged_rows], seed),
        "two_sentences": _two_sentences(classifier, sentences, first, right, generator),
    }
    return plain(whole)


def figures(variants: Tensor, first: Tensor, right: Tensor) -> dict[str, Any]:
    """What became of the answers.

    Args:
        variants: `(N, K, C)` probabilities of K variants of each row.
        first: `(N, C)` probabilities of the rows as they are.
        right: `(N,)` the right answers.

    Returns:
        Means over rows and variants. The interval is that of N rows: variants of one row are not independent.
    """
    answers, original = variants.argmax(2), first.argmax(1, keepdim=True)  # (N, K), (N, 1)
    probability = variants.gather(2, original.unsqueeze(1).expand(-1, variants.shape[1], 1))[..., 0]  # (N, K)
    accuracy = float((answers == right.unsqueeze(1)).double().mean())
    return {
        "flips": float((answers != original).double().mean()),
        "change": float((probability - first.gather(1, original)).abs().double().mean()),
        "probability": float(probability.double().mean()),
        "accuracy": accuracy,
        "interval": list(wilson(round(accuracy * len(right)), len(right))),
    }


def _word_order(
    classifier: Classifier, sentences: list[list[int]], first: Tensor, right: Tensor, generator: torch.Generator
) -> dict[str, Any]:
    variants = ask_variants(classifier, [orders(sentence, SHUFFLES, generator) for sentence in sentences])
    backwards, shuffled = variants[:, 1:2], variants[:, 2:]
    return {
        "rows": len(sentences),
        "shuffles": SHUFFLES,
        "shuffled": figures(shuffled, first, right),
        "reversed": figures(backwards, first, right),
        "shuffled_histogram": _histogram(shuffled, first),
        "reversed_histogram": _histogram(backwards, first),
    }


def _histogram(variants: Tensor, first: Tensor) -> list[float]:
    original = first.argmax(1).view(-1, 1, 1).expand(-1, variants.shape[1], 1)
    probability = variants.gather(2, original).flatten()
    return (probability.histc(BINS, 0.0, 1.0) / len(probability)).tolist()


def _distance(classifier: Classifier, sentences: list[list[int]], first: Tensor, right: Tensor) -> dict[str, Any]:
    variants = ask_variants(classifier, [with_neutral(classifier, s, NEUTRAL_COUNTS) for s in sentences])
    read = [figures(variants[:, k : k + 1], first, right) for k in range(variants.shape[1])]
    alone = neutral_alone(classifier, max(NEUTRAL_COUNTS))
    return {
        "rows": len(sentences),
        "counts": list(NEUTRAL_COUNTS),
        "after": read[: len(NEUTRAL_COUNTS)],
        "before": read[len(NEUTRAL_COUNTS) :],
        "neutral": list(NEUTRAL),
        "known": sum(word in classifier.vocabulary for word in NEUTRAL),
        "alone": alone[list(NEUTRAL_COUNTS)].tolist(),
        "spread": spread(alone),
    }


def _padding(
    classifier: Classifier, sentences: list[list[int]], first: Tensor, right: Tensor, generator: torch.Generator
) -> dict[str, Any]:
    variants = ask_variants(classifier, [with_padding(sentence, PADDING_COUNTS) for sentence in sentences])
    filled = [list[int]()] * len(sentences)
    for batch in torch.randperm(len(sentences), generator=generator).split(BATCH):
        longest = max(len(sentences[i]) for i in batch.tolist())
        for i in batch.tolist():
            filled[i] = with_padding(sentences[i], [longest - len(sentences[i])])[0]
    return {
        "rows": len(sentences),
        "counts": list(PADDING_COUNTS),
        "padded": [figures(variants[:, k : k + 1], first, right) for k in range(len(PADDING_COUNTS))],
        "batch": BATCH,
        "batched": figures(ask(classifier, filled).unsqueeze(1), first, right),
        "padding_norm": float(classifier.network.embedding.weight.detach()[PADDING_INDEX].norm()),
    }


def _two_halves(classifier: Classifier, texts: list[str], judged_rows: int) -> dict[str, Any]:
    texts = [shortened(classifier, text) for text in texts]
    sentences = [encode(classifier, text) for text in texts]
    answers = ask(classifier, sentences).argmax(1).tolist()
    paired = pairs([answer if sentence else None for answer, sentence in zip(answers, sentences, strict=True)])
    joined = [[sentences[i] + sentences[j], sentences[j] + sentences[i]] for i, j in paired]
    # Which half's class each joined text gets: 0 is the one in front.
    won: list[int | None] = []
    if paired:
        for (i, j), (one, other) in zip(paired, ask_variants(classifier, joined).argmax(2).tolist(), strict=True):
            won += [winner(one, answers[i], answers[j]), winner(other, answers[j], answers[i])]
    judged = paired[: judged_rows // 2]
    found: list[Pointing] = []
    for number, (i, j) in enumerate(judged):
        found += point(classifier, (texts[i], texts[j]), (answers[i], answers[j]), order=number % 2)
    return {
        "rows": 2 * len(paired),
        "pairs": len(paired),
        "front": _mean(place == 0 for place in won),
        "back": _mean(place == 1 for place in won),
        "neither": _mean(place is None for place in won),
        "judged_rows": 2 * len(judged),
        "methods": {method: _pointing([one for one in found if one.method == method]) for method in METHODS},
    }


def pairs(answers: Sequence[int | None]) -> list[tuple[int, int]]:
    """Pairs of rows with different answers, each row at most once: each with the first that still waits for one.

    Args:
        answers: N; a row of None is left out.
    """
    waiting: list[int] = []  # all of one answer
    found = []
    for row, answer in enumerate(answers):
        if answer is None:
            continue
        if waiting and answers[waiting[0]] != answer:
            found.append((waiting.pop(0), row))
        else:
            waiting.append(row)
    return found


def _pointing(found: list[Pointing]) -> dict[str, Any]:
    return {
        "cases": len(found),
        "hits": _mean(one.hit for one in found),
        "mass": _mean(one.mass for one in found),
        "front_hits": _mean(one.hit for one in found if one.half == one.order),
        "back_hits": _mean(one.hit for one in found if one.half != one.order),
    }


def _referee(classifier: Classifier, texts: list[str], seed: int) -> dict[str, Any]:
    untrained = twin(classifier, seed)
    judged = [one for text in texts for one in referee(classifier, text, seed=seed, other=untrained).methods]
    names = ("agreement", "comprehensiveness", "sufficiency", "twin")
    return {
        "rows": len(texts),
        "methods": {
            method: {name: _mean(getattr(one, name) for one in judged if one.method == method) for name in names}
            for method in METHODS
        },
    }


def _two_sentences(
    classifier: Classifier, sentences: list[list[int]], first: Tensor, right: Tensor, generator: torch.Generator
) -> dict[str, Any]:
    pool = [word for sentence in sentences for word in sentence]
    changed = []
    for sentence in sentences:
        other = list(sentence)
        if other:
            place, word = (int(torch.randint(n, (), generator=generator)) for n in (len(other), len(pool)))
            other[place] = pool[word]
        changed.append(other)
    return {"rows": len(sentences), "one_word": figures(ask(classifier, changed).unsqueeze(1), first, right)}


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are there; None where none is."""
    numbers = [float(value) for value in values if value is not None]
    return fmean(numbers) if numbers else None
