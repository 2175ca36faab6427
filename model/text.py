"""Tokens, each with its place in what was typed, and the vocabulary.

The only module that imports torchtext.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torchtext.data.utils import get_tokenizer
from torchtext.vocab import Vocab

from model.config import UserError

TOKENIZER = "basic_english"
MAX_TOKENS = 256  # tokens read of one text; bounds what one request may cost
UNKNOWN, PADDING = "<unk>", "<pad>"
UNKNOWN_INDEX, PADDING_INDEX = 0, 1
_LARGEST = torch.finfo(torch.float32).max

_basic_english = get_tokenizer(TOKENIZER)

# Phones and word processors type these where the corpus has the plain ones. One code point for one: no token moves.
_PLAIN_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})

# What basic_english drops between tokens: white space, quotes, ";", ":" and the line break tag. Quotes go before
# the tag does, so a tag with quotes in it is dropped too.
_DROPPED = re.compile(r'<"*b"*r"* "*/"*>|[\s";:]')


@dataclass(frozen=True, slots=True)
class Token:
    """One token as the network sees it, and where it came from."""

    text: str  # normalised, as looked up in the vocabulary
    start: int  # first code point in the typed text
    end: int  # one past the last code point
    known: bool  # whether the vocabulary holds it
    source: str  # the typed text from start to end


def tokenize(text: str) -> list[str]:
    """The tokens of `text`: torchtext's "basic_english", typographic quotes taken as plain ones."""
    return _basic_english(text.translate(_PLAIN_QUOTES))


def locate(text: str, tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Where each of the first tokens of `text` stands in it.

    The tokenizer only lowers, drops and separates, in order: so each token's characters are the next characters of
    the lowered text that are not dropped. A token may span dropped quotes (`ab"cd` is the token `abcd`).

    Args:
        text: what was typed.
        tokens: `tokenize(text)`, or the beginning of it.

    Returns:
        For each token, start and end in code points of `text`.
    """
    plain = text.translate(_PLAIN_QUOTES)
    kept = _kept_characters(plain)
    spans = []
    for token in tokens:
        first = last = next(kept)
        for _ in token[1:]:
            last = next(kept)
        spans.append((first, last + 1))
    return spans


def _kept_characters(plain: str) -> Iterator[int]:
    """For each character of the lowered text that is not dropped, the index of the character it was typed as."""
    lowered = plain.lower()
    dropped = _DROPPED.finditer(lowered)
    gap = next(dropped, None)
    position = 0
    for index, character in enumerate(plain):
        for _ in character.lower():  # "İ" is lowered to two code points
            while gap is not None and position >= gap.end():
                gap = next(dropped, None)
            if gap is None or position < gap.start():
                yield index
            position += 1


class Vocabulary:
    """Words and their indices; index 0 is <unk>, 1 is <pad>.

    Args:
        words: one per index, the two special ones first.

    Raises:
        UserError: the special words are not where they belong, or a word stands twice.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        if self.words[:2] != (UNKNOWN, PADDING):
            raise UserError(f"a vocabulary begins with {UNKNOWN} and {PADDING}; this one does not.")
        # A typed "<unk>" or "<pad>" is an unknown word: the special ones cannot be looked up.
        self._index = {word: index for index, word in enumerate(self.words) if index > PADDING_INDEX}
        if len(self._index) != len(self.words) - 2:
            raise UserError("a vocabulary holds each word once; this one repeats a word.")

    @classmethod
    def build(
        cls, rows: Iterable[Sequence[str]], *, min_frequency: int = 1, max_words: int | None = None
    ) -> Vocabulary:
        """The words of `rows`, most frequent first, equal ones by alphabet."""
        counts: Counter[str] = Counter()
        for tokens in rows:
            counts.update(tokens)
        counted = Vocab(counts, max_size=max_words, min_freq=min_frequency, specials=[UNKNOWN, PADDING])
        return cls(counted.itos)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._index

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """The index of each token, 0 for one that is unknown."""
        look_up = self._index.get
        return [look_up(token, UNKNOWN_INDEX) for token in tokens]


def read(text: str, vocabulary: Vocabulary) -> tuple[list[Token], int]:
    """What a network is shown of `text`.

    Returns:
        The first `MAX_TOKENS` tokens, and how many were cut off after them.
    """
    words = tokenize(text)
    shown = words[:MAX_TOKENS]
    tokens = [
        Token(word, start, end, word in vocabulary, text[start:end])
        for word, (start, end) in zip(shown, locate(text, shown), strict=True)
    ]
    return tokens, len(words) - len(shown)


def find_vectors(name: str, cache: Path) -> Path:
    """The file of pretrained vectors that `name` means: a path, or a name such as "glove.6B.50d" in the cache.

    Raises:
        UserError: there is no such file; the sentence says where to get GloVe.
    """
    # os.path's form leaves "~nobody" as it is, where Path's raises.
    for candidate in (Path(os.path.expanduser(name)), cache / f"{name}.txt", cache / name):
        if candidate.is_file():
            return candidate
    raise UserError(
        f"There are no word vectors at {name!r}, and no {cache / (name + '.txt')}: download GloVe from "
        "https://nlp.stanford.edu/data/glove.6B.zip and unpack it there, or name a file with --vectors FILE."
    )


def read_vectors(path: str | os.PathLike[str], vocabulary: Vocabulary) -> tuple[torch.Tensor, torch.Tensor]:
    """Pretrained vectors for the words of a vocabulary, from GloVe's text format (a word and its numbers a line).

    Returns:
        indices `(N,)` int64 of the words found, and their vectors `(N, E)` float32.

    Raises:
        UserError: a line is not a word and E finite numbers, or no word of the vocabulary is there.
    """
    indices: list[int] = []
    vectors: list[list[float]] = []
    size = 0
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                word, *numbers = line.rstrip("\n").split(" ")
                size = size or len(numbers)
                if len(numbers) != size or not size:
                    raise UserError(f"{path}:{number}: {len(numbers)} numbers where the first line has {size}.")
                if word not in vocabulary:
                    continue
                try:
                    vector = [float(text) for text in numbers]
                except ValueError:
                    raise UserError(f"{path}:{number}: not a word and {size} numbers.") from None
                if not all(abs(value) <= _LARGEST for value in vector):  # so that NaN is refused too
                    raise UserError(f"{path}:{number}: a number is not finite.")
                indices.append(vocabulary.encode([word])[0])
                vectors.append(vector)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): name a file in GloVe's text format.") from error
    if not indices:
        raise UserError(f"{path}: holds no word of this vocabulary; GloVe's text format is expected.")
    return torch.tensor(indices), torch.tensor(vectors)
