"""Evidence for a class, token by token, by five methods; and how far each can be believed.

All scores explain the target's logit, so that methods can be compared with one another and with the ledger. Only
comprehensiveness and sufficiency speak of its probability, as their paper defines them.

Shapes: B batch, T tokens, E embedding, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lens.measures import ledger
from lens.trace import read_sentence, rounded, target_index
from lens.unroll import unroll
from model.classifier import Classifier, predict_rows
from model.config import UserError
from model.corpus import EncodedRows
from model.network import RecurrentNetwork, read_out
from model.text import PADDING_INDEX, UNKNOWN, UNKNOWN_INDEX

METHODS = ("ledger", "integrated gradients", "deletion", "replacement", "gradient × input")
BASELINES = ("zero", "unknown", "mean")

STEPS, MOST_STEPS = 64, 512  # points on the path of integrated gradients: at first, and at most
TOLERANCE = 0.05  # completeness error at which the points are enough
SMALLEST_DIFFERENCE = 0.1  # of logits; a smaller one would make the relative error meaningless
TOKENS_AT_ONCE = 16_384  # in one batch of integrated gradients: 81 MB for an LSTM of 64 units; 4,096 are slower
SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)  # of the tokens, rounded up, that count as the evidence (ERASER)

Score = Callable[[Tensor], Tensor]
"""The target's logit for each row: `(B, T, E)` -> `(B,)`."""


@dataclass(frozen=True)
class Evidence:
    """How much each token speaks for a class.

    Attributes:
        method: one of `METHODS`.
        target: index of the class.
        scores: `(T,)` float32 on the CPU, in units of the logit; positive speaks for the class.
        logit: the target's, for the whole sentence.
        start: the logit that `start + scores.sum()` explains `logit` from: the bias for the ledger, the baseline's
            logit for integrated gradients; None for a method whose scores are no parts of a sum.
        baseline: one of `BASELINES`, integrated gradients alone.
        error: |sum of scores - (logit - start)| / max(|logit - start|, 0.1), integrated gradients alone. The scores
            are never scaled to hide it.
        steps: points on the path, integrated gradients alone.
    """

    method: str
    target: int
    scores: Tensor
    logit: float
    start: float | None = None
    baseline: str | None = None
    error: float | None = None
    steps: int | None = None

    def to_payload(self) -> dict[str, Any]:
        """The same fields for JSON, numbers to 4 significant digits, null for what is not finite."""
        return {
            "method": self.method,
            "target": self.target,
            "scores": rounded(self.scores),
            "logit": rounded(self.logit),
            "start": rounded(self.start),
            "baseline": self.baseline,
            "error": rounded(self.error),
            "steps": self.steps,
        }


@dataclass(frozen=True)
class Faithfulness:
    """How well scores say what the network relies on; each is None where the sentence is too short to say.

    Attributes:
        comprehensiveness: mean drop of the target's probability when the best tokens are taken out; high is good.
        sufficiency: mean drop when only the best tokens are kept; low is good.
        agreement: Kendall's tau-b between the scores and the deletion scores, -1 to 1.
    """

    comprehensiveness: float | None
    sufficiency: float | None
    agreement: float | None

    def to_payload(self) -> dict[str, Any]:
        """The same fields for JSON, to 4 significant digits."""
        return {
            "comprehensiveness": rounded(self.comprehensiveness),
            "sufficiency": rounded(self.sufficiency),
            "agreement": rounded(self.agreement),
        }


# ------------------------------------------------------------------------------------------ pure functions on tensors


def gradient_times_input(score: Score, vectors: Tensor) -> Tensor:
    """Gradient at each word vector times the vector (Shrikumar et al. 2016).

    Args:
        score: the target's logit.
        vectors: `(T, E)`.

    Returns:
        `(T,)`.
    """
    return (_gradient(score, vectors.unsqueeze(0)) * vectors).sum(1)


def integrated_gradients(score: Score, vectors: Tensor, baseline: Tensor) -> tuple[Tensor, float, int]:
    """Integrated gradients on the embedding (Sundararajan, Taly and Yan 2017), by the midpoint rule.

    64 points on the straight path from the baseline, doubled up to 512 until the completeness error is at most 5 %.

    Args:
        score: the target's logit.
        vectors: `(T, E)`, T at least 1.
        baseline: `(T, E)`, what stands for "nothing".

    Returns:
        Scores `(T,)`, the completeness error |sum - ΔF| / max(|ΔF|, 0.1), and the number of points.
    """
    path = vectors - baseline
    with torch.no_grad():
        reached, start = score(torch.stack([vectors, baseline])).tolist()
    difference = reached - start
    rows = max(1, TOKENS_AT_ONCE // len(vectors))
    steps = STEPS
    while True:
        at = (torch.arange(steps, dtype=vectors.dtype, device=vectors.device) + 0.5) / steps
        gradient = torch.zeros_like(vectors)
        for part in at.split(rows):
            gradient += _gradient(score, baseline + part.view(-1, 1, 1) * path)
        scores = (gradient / steps * path).sum(1)
        error = abs(float(scores.sum()) - difference) / max(abs(difference), SMALLEST_DIFFERENCE)
        if error <= TOLERANCE or steps >= MOST_STEPS:
            return scores, error, steps
        steps *= 2


def _gradient(score: Score, batch: Tensor) -> Tensor:
    """Sum over the rows of the gradient at each, `(B, T, E)` -> `(T, E)`."""
    with torch.enable_grad():
        batch = batch.detach().requires_grad_()
        return torch.autograd.grad(score(batch).sum(), batch)[0].sum(0)


def kendall(a: Tensor, b: Tensor) -> float | None:
    """Kendall's tau-b, which allows for ties (Kendall 1945).

    Args:
        a: `(N,)`.
        b: `(N,)`.

    Returns:
        -1 to 1; None where all of `a` or all of `b` are equal, or N is below 2.
    """
    order_a = (a.unsqueeze(1) - a).sign().double()  # (N, N), each pair twice, on both sides of every fraction below
    order_b = (b.unsqueeze(1) - b).sign().double()
    untied = float(order_a.abs().sum()) * float(order_b.abs().sum())
    return float((order_a * order_b).sum()) / math.sqrt(untied) if untied > 0 else None


def best_tokens(scores: Tensor, shares: Sequence[float] = SHARES) -> list[set[int]]:
    """The tokens with the highest scores: for each share of the tokens, rounded up, their indices.

    Args:
        scores: `(T,)`; of equal ones the earlier is better.
        shares: from 0 to 1.
    """
    order = scores.argsort(descending=True, stable=True).tolist()
    # 0.2 * 15 is 3.0000000000000004: rounded first, so that a fifth of fifteen is three.
    return [set(order[: math.ceil(round(share * len(order), 6))]) for share in shares]


# ------------------------------------------------------------------------------------------------- asking a classifier


def evidence(
    classifier: Classifier,
    text: str,
    target: str | None = None,
    method: str = "integrated gradients",
    baseline: str = "zero",
) -> Evidence:
    """How much each token of a sentence speaks for a class.

    "ledger": what the step changed in the state, times the readout's weights. "integrated gradients": along the path
    from a baseline. "deletion": the drop of the logit when the token is left out; "replacement": when <unk> stands in
    its place. "gradient × input": a linear guess from one gradient.

    Args:
        classifier: any cell and readout.
        text: what was typed.
        target: a label; None means the predicted one.
        method: one of `METHODS`.
        baseline: what integrated gradients take for "nothing": zero vectors ("zero"), the vector of <unk> ("unknown"),
            or the mean word vector ("mean").

    Returns:
        The scores; of an empty sentence none, and the logit is the bias.

    Raises:
        UserError: there is no such label, method or baseline, or the classifier reads padding as words.
    """
    for name, value, allowed in (("method", method, METHODS), ("baseline", baseline, BASELINES)):
        if value not in allowed:
            raise UserError(f"There is no {name} {value!r}; there is {', '.join(allowed)}.")
    chosen = None if target is None else target_index(classifier, target)
    tokens, _, vectors = read_sentence(classifier, text)
    network = classifier.network
    bias = network.linear.bias.detach()
    with torch.no_grad():
        logits = _logits(network, vectors.unsqueeze(0))[0] if tokens else bias
    chosen = int(logits.argmax()) if chosen is None else chosen

    def score(batch: Tensor) -> Tensor:
        return _logits(network, batch)[:, chosen]

    scores, start, error, steps = vectors.new_zeros(len(tokens)), None, None, None
    if method == "ledger":
        with torch.no_grad():
            hidden = unroll(network.recurrence, vectors).hidden
            scores = ledger(hidden, network.linear.weight, network.config.readout)[:, chosen]
        start = float(bias[chosen])
    elif not tokens:
        pass
    elif method == "integrated gradients":
        nothing = _baseline(network, baseline).expand_as(vectors)
        scores, error, steps = integrated_gradients(score, vectors, nothing)
        with torch.no_grad():
            start = float(score(nothing.unsqueeze(0)))
    elif method == "gradient × input":
        scores = gradient_times_input(score, vectors)
    else:
        words = [token.text for token in tokens]
        changed = changed_sentences(words, None if method == "deletion" else UNKNOWN)
        asked = _ask(classifier, [words, *changed])[:, chosen]
        scores = asked[0] - asked[1:]
    return Evidence(
        method=method,
        target=chosen,
        scores=scores.detach().float().cpu(),
        logit=float(logits[chosen]),
        start=start,
        baseline=baseline if method == "integrated gradients" else None,
        error=error,
        steps=steps,
    )


def faithfulness(classifier: Classifier, text: str, found: Evidence, deletion: Evidence | None = None) -> Faithfulness:
    """How well scores say what the network relies on.

    Comprehensiveness and sufficiency as DeYoung et al. 2020 (ERASER) define them, on the probability of the target,
    each the mean over `SHARES` of the tokens (their AOPC); at least one token is always taken, so that in a short
    sentence the smallest shares are the same. Agreement is rank correlation with deletion, as Atanasova et al. 2020
    compare methods. A network may do anything with a sentence that has holes: these measure, they do not prove.

    Args:
        classifier: the one that was asked.
        text: the sentence that was asked about.
        found: what `evidence` returned for the two.
        deletion: what it returned for the same target by deletion, where that is known already.

    Returns:
        The three figures, each None where the sentence is too short or the scores are all equal.

    Raises:
        UserError: the classifier reads padding as words.
    """
    tokens, _, _ = read_sentence(classifier, text)
    words = [token.text for token in tokens]
    if len(words) != len(found.scores):
        raise ValueError(f"{len(found.scores)} scores for {len(words)} tokens")
    if not words:
        return Faithfulness(None, None, None)
    best = best_tokens(found.scores)
    without = [[word for i, word in enumerate(words) if i not in some] for some in best]
    alone = [[word for i, word in enumerate(words) if i in some] for some in best]
    shorter = changed_sentences(words, None) if deletion is None else []
    logits = _ask(classifier, [words, *without, *alone, *shorter])
    probability = logits.softmax(1)[:, found.target]
    drop = probability[0] - probability[1:]
    count = len(best)
    fell = -logits[1 + 2 * count :, found.target].cpu() if deletion is None else deletion.scores
    return Faithfulness(
        comprehensiveness=float(drop[:count].mean()),
        sufficiency=float(drop[count : 2 * count].mean()),
        agreement=kendall(found.scores, fell),
    )


def changed_sentences(words: list[str], replacement: str | None) -> list[list[str]]:
    """For each word the sentence without it, or with `replacement` in its place."""
    middle = [] if replacement is None else [replacement]
    return [[*words[:i], *middle, *words[i + 1 :]] for i in range(len(words))]


def _ask(classifier: Classifier, sentences: list[list[str]]) -> Tensor:
    """Logits for sentences of tokens, `(N, C)`, without gradient."""
    classifier.network.eval()
    rows = EncodedRows.encode(sentences, [0] * len(sentences), classifier.vocabulary)
    return predict_rows(classifier.network, rows.to(classifier.device))


def _logits(network: RecurrentNetwork, vectors: Tensor) -> Tensor:
    """Logits from word vectors of sentences of one length, `(B, T, E)` -> `(B, C)`, T at least 1.

    Unrolled, because cuDNN's fused layers refuse to differentiate a network in evaluation mode.
    """
    lengths = torch.full((len(vectors),), vectors.shape[1], device=vectors.device)
    return network.linear(read_out(unroll(network.recurrence, vectors).hidden, lengths, network.config.readout))


def _baseline(network: RecurrentNetwork, name: str) -> Tensor:
    """The vector that stands for "nothing", `(E,)`."""
    words = network.embedding.weight.detach()
    if name == "zero":
        return torch.zeros_like(words[UNKNOWN_INDEX])
    if name == "unknown":
        return words[UNKNOWN_INDEX]
    # The mean of all but padding's, which is no word.
    return (words.sum(0) - words[PADDING_INDEX]) / (len(words) - 1)
