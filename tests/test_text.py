"""Tokens, their places in the typed text, the vocabulary, and pretrained vectors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torchtext.data.utils import get_tokenizer

from model.config import UserError
from model.text import MAX_TOKENS, Vocabulary, find_vectors, locate, read, read_vectors, tokenize

WORDS = ("<unk>", "<pad>", "stocks", "fell", "on", "'", "i̇stanbul")

# What moves characters about: what the tokenizer drops, separates, or lowers to another number of code points.
PIECES = [
    *"\"';:.,!?() \t\n\0<>/",
    "<br />",
    "<BR />",
    '<b"r />',
    "<br/>",
    "İ",
    "ΑΣ",
    "ß",
    "\u2018\u2019\u201c\u201d",
    "\ud83d",
    "👩‍👩‍👧",
    "שלום",
    "\u202eabc\u202c",
    "股市",
    "\u00a0",
    "\u2028",
    "<unk>",
    "Stocks",
]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(st.characters(), max_size=5)), max_size=12).map("".join)


@pytest.mark.parametrize(
    "text",
    [
        "Stocks fell on Monday.",
        'Apple\'s "new" iPod; priced: $199 (or less)!',
        "one<br />two<BR />three <br/> four",
        "  \t\n ",
        "U.S. 5,000-yard dash?",
        "İstanbul ΑΣ 股市 👩‍👩‍👧",
        "<script>alert('x')</script>",
    ],
)
def test_tokens_are_torchtexts_basic_english(text: str) -> None:
    assert tokenize(text) == get_tokenizer("basic_english")(text)


def test_typographic_quotes_are_read_as_plain_ones() -> None:
    assert tokenize("Apple’s “big” day") == tokenize('Apple\'s "big" day') == ["apple", "'", "s", "big", "day"]


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ('ab"cd" ef', ['ab"cd', "ef"]),  # the quote at the end of a word is no part of it, the one within is
        ('"Quoted" text', ["Quoted", "text"]),
        ("one<br />two", ["one", "two"]),
        ('one<b"r />two', ["one", "two"]),
        ("İzmir won", ["İzmir", "won"]),
        ("It’s over", ["It", "’", "s", "over"]),
        ("a\0b c", ["a\0b", "c"]),
        ("x: y; z", ["x", "y", "z"]),
        ("", []),
        (' ";: ', []),
    ],
)
def test_a_token_carries_the_text_that_it_was_typed_as(text: str, sources: list[str]) -> None:
    tokens, cut = read(text, Vocabulary(WORDS))
    assert [token.source for token in tokens] == sources
    assert [text[token.start : token.end] for token in tokens] == sources
    assert cut == 0


@given(TEXTS)
@example('<b"r" />"')
@example("İ\u0307İ.İ")
def test_spans_are_in_order_and_hold_their_tokens(text: str) -> None:
    tokens = tokenize(text)
    spans = locate(text, tokens)
    assert len(spans) == len(tokens)
    position = 0
    for token, (start, end) in zip(tokens, spans, strict=True):
        assert position <= start < end <= len(text)
        # Whether a sigma is a final one depends on what follows, which the span alone does not show.
        assert [word.replace("ς", "σ") for word in tokenize(text[start:end])] == [token.replace("ς", "σ")]
        position = end


@given(TEXTS)
def test_between_spans_there_is_nothing_that_the_network_reads(text: str) -> None:
    position = 0
    for start, end in [*locate(text, tokenize(text)), (len(text), len(text))]:
        assert tokenize(text[position:start]) == []
        position = end


def test_the_first_256_tokens_are_read_and_the_others_counted() -> None:
    tokens, cut = read("word " * 200_000, Vocabulary(WORDS))
    assert len(tokens) == MAX_TOKENS == 256
    assert cut == 200_000 - 256
    assert tokens[-1].start == 255 * 5
    assert read("word " * 256, Vocabulary(WORDS))[1] == 0


@pytest.mark.parametrize("word", ["<unk>", "<pad>", "<PAD>"])
def test_a_typed_special_word_is_unknown(word: str) -> None:
    vocabulary = Vocabulary(WORDS)
    (token,), _ = read(word, vocabulary)
    assert not token.known
    assert vocabulary.encode(tokenize(word)) == [0]


def test_a_special_word_of_the_corpus_is_not_counted_as_a_word() -> None:
    vocabulary = Vocabulary.build([["<pad>", "<pad>", "<unk>", "a"]])
    assert vocabulary.words == ("<unk>", "<pad>", "a")


def test_known_words_are_marked() -> None:
    tokens, _ = read("Stocks plunged", Vocabulary(WORDS))
    assert [(token.text, token.known) for token in tokens] == [("stocks", True), ("plunged", False)]


def test_looking_up_an_unknown_word_does_not_make_it_known() -> None:
    vocabulary = Vocabulary.build([["a", "b"]])
    assert vocabulary.encode(["zebra"]) == [0]
    assert "zebra" not in vocabulary
    assert len(vocabulary) == 4
    assert vocabulary.encode(["zebra", "a"]) == [0, 2]


def test_words_stand_by_frequency_and_then_by_alphabet() -> None:
    rows = [["b", "a", "c"], ["c", "b"], ["c", "d"]]
    assert Vocabulary.build(rows).words == ("<unk>", "<pad>", "c", "b", "a", "d")
    assert Vocabulary.build(rows, min_frequency=2).words == ("<unk>", "<pad>", "c", "b")
    assert Vocabulary.build(rows, max_words=1).words == ("<unk>", "<pad>", "c")


@pytest.mark.parametrize("words", [["a", "b"], ["<pad>", "<unk>", "a"], ["<unk>"], []])
def test_a_vocabulary_begins_with_its_special_words(words: list[str]) -> None:
    with pytest.raises(UserError, match="begins with <unk> and <pad>"):
        Vocabulary(words)


@pytest.mark.parametrize("word", ["a", "<pad>"])
def test_a_word_that_stands_twice_is_refused(word: str) -> None:
    with pytest.raises(UserError, match="repeats a word"):
        Vocabulary(["<unk>", "<pad>", "a", word, word])


# ---------------------------------------------------------------------------------------------------- vectors


def test_vectors_are_read_for_the_words_of_the_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_bytes("the 1 2 3\nfell 0.5 -1e-2 3\r\nzebra 1 1 1\n\u2028 7 7 7\n<unk> 9 9 9\nstocks 4 5 6\n".encode())
    vocabulary = Vocabulary(WORDS)
    indices, vectors = read_vectors(path, vocabulary)
    assert [vocabulary.words[i] for i in indices] == ["fell", "stocks"]
    assert torch.equal(vectors, torch.tensor([[0.5, -0.01, 3], [4, 5, 6]]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("stocks 1 2 3\nfell 1 2\n", r":2: 2 numbers where the first line has 3"),
        ("stocks 1 2\nzebra 1\n", r":2: 1 numbers where the first line has 2"),
        ("400000 50\nstocks 1 2\n", r":2: 2 numbers where the first line has 1"),
        ("a 1 2\nstocks 1 two\n", r":2: not a word and 2 numbers"),
        ("stocks 1 nan\n", r":1: a number is not finite"),
        ("stocks 1 1e400\n", r":1: a number is not finite"),
        ("stocks 1 1e39\n", r":1: a number is not finite"),  # finite in double precision alone
        ("stocks\n", r":1: 0 numbers"),
        ("\nstocks 1 2\n", r":1: 0 numbers"),
        ("zebra 1 2\n", "holds no word of this vocabulary"),
        ("", "holds no word of this vocabulary"),
    ],
)
def test_wrong_vectors_are_refused_by_file_and_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as refusal:
        read_vectors(path, Vocabulary(WORDS))
    assert str(path) in str(refusal.value)


def test_vectors_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vectors.bin"
    path.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(UserError, match=r"vectors\.bin"):
        read_vectors(path, Vocabulary(WORDS))


def test_vectors_that_cannot_be_opened_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_vectors(tmp_path, Vocabulary(WORDS))


def test_vectors_are_found_by_path_and_by_name_in_the_cache(tmp_path: Path) -> None:
    cached = tmp_path / "glove.6B.50d.txt"
    cached.write_text("a 1\n")
    assert find_vectors("glove.6B.50d", tmp_path) == cached
    assert find_vectors("glove.6B.50d.txt", tmp_path) == cached
    assert find_vectors(str(cached), tmp_path / "elsewhere") == cached


@pytest.mark.parametrize("name", ["glove.6B.50d", "~nobody-of-this-name/glove.txt", "."])
def test_vectors_that_are_not_there_are_refused_with_the_way_to_get_them(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as refusal:
        find_vectors(name, tmp_path)
    sentence = str(refusal.value)
    assert repr(name) in sentence
    assert str(tmp_path / f"{name}.txt") in sentence
    assert "https://nlp.stanford.edu/data/glove.6B.zip" in sentence
    assert "--vectors FILE" in sentence
