"""Labelled text: repaired, read, refused, downloaded, encoded, split, cut into batches."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from corpora import LABELS, write_corpus, write_rows
from hypothesis import given
from hypothesis import strategies as st

from model import corpus
from model.config import TrainingConfig, UserError
from model.corpus import (
    AG_NEWS_LABELS,
    Corpus,
    EncodedRows,
    Rows,
    batches,
    cache_directory,
    download_ag_news,
    git_blob_id,
    prepare,
    read_corpus,
    repair,
)
from model.text import MAX_TOKENS, PADDING_INDEX, Vocabulary, tokenize

# ---------------------------------------------------------------------------------------------------- repair


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("Baker #39;s dozen", "Baker's dozen"),
        ("the bakers #39; union", "the bakers ' union"),
        ("can #39;t and won#39;t", "can't and won't"),
        ("a quot;sourdough quot; war", 'a "sourdough " war'),
        ("a &quot;rye&quot; war", 'a "rye" war'),
        ("&lt;b&gt;Bread&lt;/b&gt; rises", " Bread  rises"),
        ("lt;b gt;Bread lt;/b gt; rises", " Bread   rises"),
        ('see &lt;A HREF="http://bread.example/x"&gt;here&lt;/A&gt;', "see  here "),
        ("first line\\second line", "first line second line"),
        ("costs \\$40 now", "costs $40 now"),
        ("costs #36;40 now", "costs $40 now"),
        ("caf#xe9; and cr&#232;me", "café and crème"),
        ("B amp;B and B &amp; B", "B &B and B & B"),
        ("twice &amp;lt;i&amp;gt;over&amp;lt;/i&amp;gt;", "twice  over "),
        ("5 &lt; 6", "5 < 6"),
        ("rates #151; again", "rates — again"),
    ],
)
def test_broken_markup_is_mended(broken: str, mended: str) -> None:
    assert repair(broken) == mended


def test_a_mended_apostrophe_is_one_spelling() -> None:
    assert tokenize(repair("Baker #39;s")) == tokenize(repair("Baker&#39;s")) == tokenize("Baker's")


@pytest.mark.parametrize(
    "clean",
    [
        "He came; he saw.",
        "AT&T; R&D; 3 < 5 > 2",
        "No. #39 in the draft; no. #4 as well",
        'She said "no"; they said: "yes"',
        "A $40 loaf",
        "quotation; amplitude; example",
        "股市; café — crème",
        "",
    ],
)
def test_clean_text_is_left_alone(clean: str) -> None:
    assert repair(clean) == clean


@given(st.text(st.characters(exclude_characters="\\&#;<", exclude_categories=())))
def test_text_without_markup_is_left_alone(text: str) -> None:
    assert repair(text) == text


@given(st.lists(st.sampled_from(["#39;", "&lt;", "b", "gt;", " ", "\\", "$", "amp;", "#x3c;", "&", ";"])).map("".join))
def test_any_breakage_is_mended_without_failing_and_without_a_backslash_left(text: str) -> None:
    assert "\\" not in repair(text)


# ---------------------------------------------------------------------------------------------------- read


def write(directory: Path, train: bytes | str | None = None, **files: bytes | str | None) -> Path:
    """A good corpus with some files replaced, or removed where None is given for one."""
    write_corpus(directory, train=8, test=8)
    for name, content in {"train.csv": train, **files}.items():
        if content is not None:
            (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return directory


def test_a_corpus_is_read_with_columns_joined_and_classes_counted_from_zero(tmp_path: Path) -> None:
    write(tmp_path, '"1","A title","and a text"\n"4","","only text"\n2,bare\n')
    read = read_corpus(tmp_path)
    assert read.labels == LABELS
    assert read.train == Rows(["A title and a text", " only text", "bare"], [0, 3, 1])
    assert len(read.test) == 8


def test_rows_are_mended_unless_they_are_wanted_raw(tmp_path: Path) -> None:
    write(tmp_path, "1,Baker #39;s\n2,a\\b\n")
    assert read_corpus(tmp_path).train.texts == ["Baker's", "a b"]
    assert read_corpus(tmp_path, repaired=False).train.texts == ["Baker #39;s", "a\\b"]


def test_any_number_of_classes_is_taken_from_the_files(tmp_path: Path) -> None:
    write(tmp_path, "1,a\n2,b\n3,c\n5,e\n", **{"classes.txt": "\na\nb \n\nc\nd\né", "test.csv": "5,x\n"})
    read = read_corpus(tmp_path)
    assert read.labels == ("a", "b", "c", "d", "é")
    assert read.test.classes == [4]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    write(tmp_path, b'\xef\xbb\xbf"1","a"\n"2","b"\n', **{"classes.txt": b"\xef\xbb\xbfyes\nno\n", "test.csv": "2,x\n"})
    read = read_corpus(tmp_path)
    assert read.labels == ("yes", "no")
    assert read.train.classes == [0, 1]


def test_a_quoted_field_may_hold_line_ends_and_quotes(tmp_path: Path) -> None:
    write(tmp_path, '1,"two\nlines, and ""quotes"""\r\n2,b\r\n')
    assert read_corpus(tmp_path).train.texts == ['two\nlines, and "quotes"', "b"]


@pytest.mark.parametrize("name", ["train.csv", "test.csv", "classes.txt"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / name).unlink()
    with pytest.raises(UserError, match="cannot be read") as refusal:
        read_corpus(tmp_path)
    assert str(tmp_path / name) in str(refusal.value)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.*No such file.*a corpus is a directory with train\.csv"):
        read_corpus(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("1,a\n5,b\n", 2, "class index is '5'; it must be a number from 1 to 4"),
        ("1,a\n0,b\n", 2, "class index is '0'"),
        ("1,a\n-1,b\n", 2, "class index is '-1'"),
        ("1,a\nsport,b\n", 2, "class index is 'sport'"),
        ("1,a\n1.0,b\n", 2, "class index is '1.0'"),
        ("1,a\n,b\n", 2, "class index is ''"),
        (f"1,a\n{'9' * 5000},b\n", 2, "class index is '99999999999999999999'"),
        ("class,text\n1,a\n", 1, "class index is 'class'"),
        ('1,"a\nb\nc"\n9,d\n', 4, "class index is '9'"),  # the line in the file, not the number of the row
        ('1,a\r\n2,"b\r\nc"\r\n9,d\r\n', 4, "class index is '9'"),
        ("1,a\n\n2,b\n", 2, "the row is empty"),
        ("1,a\n2,b\n\n", 3, "the row is empty"),
        ("1,a\n2\n", 2, "the row has no text"),
        ('1,a\n2,""," "\n', 2, "the row has no text"),
        ("1,a\n2,&lt;b&gt;\n", 2, "the row has no text"),  # none is left after the markup is mended
        ('1,a\n2,"b"c\n', 2, "not a row of CSV"),
        ('1,a\n2,"b\nc\n', 2, "not a row of CSV"),  # a quote that never ends, where it begins
        (f"1,a\n2,{'b' * 200_000}\n", 2, "not a row of CSV"),
        (b"1,a\n2,caf\xe9\n", 2, "not UTF-8"),
        (b"\xef\xbb\xbf1,a\n2,b\n\xff", 3, "not UTF-8"),
        (b"\xef\xbb\xbf1,a\n\xff", 2, "not UTF-8"),
        ("1,a\n2,b\n".encode("utf-16"), 1, "not UTF-8"),
    ],
)
@pytest.mark.parametrize("name", ["train.csv", "test.csv"])
def test_a_wrong_row_is_refused_by_file_and_line(
    tmp_path: Path, name: str, content: bytes | str, line: int, what: str
) -> None:
    write(tmp_path, **{name: content})
    with pytest.raises(UserError) as refusal:
        read_corpus(tmp_path)
    assert str(refusal.value).startswith(f"{tmp_path / name}:{line}: ")
    assert what in str(refusal.value)
    assert len(str(refusal.value)) < 400


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.csv: holds no rows"):
        read_corpus(write(tmp_path, ""))


def test_rows_of_one_class_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.csv: every row is of the class 'Sports'"):
        read_corpus(write(tmp_path, "2,a\n2,b\n"))


@pytest.mark.parametrize(
    ("content", "what"), [("", "names 0 class"), ("News\n", "names 1 class"), ("a\nb\na \n", "a class is named twice")]
)
def test_wrong_class_names_are_refused(tmp_path: Path, content: str, what: str) -> None:
    with pytest.raises(UserError, match=rf"classes\.txt: {what}"):
        read_corpus(write(tmp_path, **{"classes.txt": content}))


# ---------------------------------------------------------------------------------------------------- download

FILES = {"/train.csv": b'"1","a made-up row"\n"2","another"\n' * 5000, "/test.csv": b'"1","a test row"\n'}


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler, bytes], None]) -> Iterator[str]:
    """Serves `FILES` on this machine, each the way that `answer` does.

    Yields:
        The address.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, FILES[self.path])

        def log_message(self, *args: object) -> None:
            """Keeps quiet."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/"
    finally:
        running.shutdown()
        running.server_close()


def send(handler: BaseHTTPRequestHandler, data: bytes, length: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data) if length is None else length))
    handler.end_headers()
    handler.wfile.write(data)


def truncated(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    send(handler, data[: len(data) // 2], len(data) // 2)


def broken_off(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    send(handler, data[: len(data) // 2], len(data))


def broken_off_chunks(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n" % len(data) + data[: len(data) // 2])


def reset(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    send(handler, data[:100], len(data))
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    handler.connection.shutdown(socket.SHUT_RD)


def wrong_content(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    send(handler, b"<html>Log in to this network</html>")


def not_found(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.send_error(404)


def no_http(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(b"\0\1\2 nothing of HTTP\r\n\r\n")


@pytest.fixture(autouse=True)
def made_up_ag_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is downloaded here is checked like AG_NEWS itself."""
    monkeypatch.setattr(corpus, "AG_NEWS_BLOBS", {name[1:]: git_blob_id(data) for name, data in FILES.items()})
    monkeypatch.setattr(corpus, "_TIMEOUT", 5)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_git_blob_id_is_gits() -> None:
    # printf 'hello\n' | git hash-object --stdin
    assert git_blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_download_is_kept_whole_and_not_fetched_again(tmp_path: Path) -> None:
    with server(send) as url:
        directory = download_ag_news(tmp_path / "deep" / "cache", url)
    assert {path.name for path in directory.iterdir()} == {"train.csv", "test.csv", "classes.txt"}
    assert (directory / "train.csv").read_bytes() == FILES["/train.csv"]
    assert download_ag_news(directory, url) == directory  # with nothing to answer at that address
    assert read_corpus(directory).labels == AG_NEWS_LABELS


@pytest.mark.parametrize("answer", [truncated, broken_off, broken_off_chunks, reset, wrong_content, not_found, no_http])
def test_a_failed_download_leaves_nothing_in_the_cache_and_says_what_to_do(
    tmp_path: Path, answer: Callable[[BaseHTTPRequestHandler, bytes], None]
) -> None:
    with server(answer) as url, pytest.raises(UserError) as refusal:
        download_ag_news(tmp_path, url)
    assert list(tmp_path.iterdir()) == []
    sentence = str(refusal.value)
    assert f"{url}train.csv" in sentence
    assert sentence.endswith("try again, or name a directory that holds the corpus with --data DIR.")
    assert "\n" not in sentence


def test_a_download_that_is_too_large_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "_LARGEST_DOWNLOAD", 1000)
    with server(send) as url, pytest.raises(UserError, match="1,001 bytes of something else"):
        download_ag_news(tmp_path, url)
    assert list(tmp_path.iterdir()) == []


def test_a_silent_source_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(UserError, match="timed out"):
            download_ag_news(tmp_path, url)
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_one_sentence_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    with pytest.raises(UserError, match=r"could not be downloaded from .*refused"):
        download_ag_news(tmp_path, url)
    assert list(tmp_path.iterdir()) == []


def test_what_was_fetched_before_a_failure_is_not_fetched_again(tmp_path: Path) -> None:
    def train_alone(handler: BaseHTTPRequestHandler, data: bytes) -> None:
        (send if handler.path == "/train.csv" else not_found)(handler, data)

    def test_alone(handler: BaseHTTPRequestHandler, data: bytes) -> None:
        (send if handler.path == "/test.csv" else not_found)(handler, data)

    with server(train_alone) as url, pytest.raises(UserError, match=r"test\.csv"):
        download_ag_news(tmp_path, url)
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]
    with server(test_alone) as url:
        download_ag_news(tmp_path, url)
    assert len(read_corpus(tmp_path).train) == 10_000


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"The cache .*file/cache cannot be written .*XDG_CACHE_HOME.*--data DIR"):
        download_ag_news(tmp_path / "file" / "cache", "http://127.0.0.1:1/")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(corpus.os, "fsync", full)
    with (
        server(send) as url,
        pytest.raises(UserError, match=r"train\.csv cannot be written \(No space left on device\)"),
    ):
        download_ag_news(tmp_path, url)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_is_where_the_person_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "unrolled"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_directory() == Path.home() / ".cache" / "unrolled"


# ---------------------------------------------------------------------------------------------------- encode

VOCABULARY = Vocabulary(["<unk>", "<pad>", *(f"w{i}" for i in range(50))])


def some_rows(count: int, longest: int = 40, seed: int = 0) -> list[list[str]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, longest + 1, (count,), generator=generator).tolist()
    return [[f"w{int(i)}" for i in torch.randint(0, 60, (n,), generator=generator)] for n in lengths]


def test_the_flat_encoding_holds_what_encoding_row_by_row_gives() -> None:
    rows = some_rows(30)
    encoded = EncodedRows.encode(rows, [i % 4 for i in range(30)], VOCABULARY)
    chosen = torch.tensor([7, 0, 29, 7, 13])
    tokens, lengths, classes = encoded.batch(chosen)
    plain = [VOCABULARY.encode(rows[i]) for i in chosen]
    width = max(map(len, plain))
    assert tokens.tolist() == [row + [PADDING_INDEX] * (width - len(row)) for row in plain]
    assert lengths.tolist() == [len(row) for row in plain]
    assert classes.tolist() == [int(i) % 4 for i in chosen]
    assert encoded.batch(chosen, width + 3)[0].tolist() == [row + [PADDING_INDEX] * 3 for row in tokens.tolist()]


def test_a_row_is_cut_as_a_typed_text_is() -> None:
    encoded = EncodedRows.encode([["w1"] * 1000], [0], VOCABULARY)
    assert encoded.lengths.tolist() == [MAX_TOKENS]


def test_a_batch_of_empty_rows_is_one_column_of_padding() -> None:
    encoded = EncodedRows.encode([[], []], [0, 1], VOCABULARY)
    tokens, lengths, classes = encoded.batch(torch.tensor([1, 0]))
    assert tokens.tolist() == [[PADDING_INDEX], [PADDING_INDEX]]
    assert lengths.tolist() == [0, 0]
    assert classes.tolist() == [1, 0]


@pytest.mark.parametrize(("count", "size"), [(1000, 16), (1000, 7), (5, 16), (1, 1), (2048, 16)])
def test_batches_hold_each_row_once(count: int, size: int) -> None:
    encoded = EncodedRows.encode(some_rows(count), [0] * count, VOCABULARY)
    cut = list(batches(encoded, size, torch.Generator().manual_seed(0)))
    assert torch.cat(cut).sort().values.tolist() == list(range(count))
    assert len(cut) == -(-count // size)
    assert sorted(map(len, cut))[1:] == [size] * (len(cut) - 1)


def test_batches_hold_rows_of_near_equal_length_in_an_order_left_to_chance() -> None:
    encoded = EncodedRows.encode(some_rows(4096), [0] * 4096, VOCABULARY)

    def padding(window: int) -> float:
        cut = list(batches(encoded, 16, torch.Generator().manual_seed(0), window))
        columns = sum(len(rows) * int(encoded.lengths[rows].max()) for rows in cut)
        return 1 - int(encoded.lengths.sum()) / columns

    assert padding(corpus.WINDOW) < 0.04
    assert padding(1) > 0.4  # what rows that meet by chance cost
    lengths = [int(encoded.lengths[rows].max()) for rows in batches(encoded, 16, torch.Generator().manual_seed(0))]
    assert lengths != sorted(lengths)
    assert abs(torch.corrcoef(torch.tensor([range(len(lengths)), lengths], dtype=torch.float))[0, 1]) < 0.3


def test_each_epoch_has_another_order_and_each_seed_the_same_orders() -> None:
    encoded = EncodedRows.encode(some_rows(200), [0] * 200, VOCABULARY)

    def epochs(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return [torch.cat(list(batches(encoded, 16, generator))).tolist() for _ in range(2)]

    first, second = epochs(0)
    assert first != second
    assert epochs(0) == [first, second]
    assert epochs(1)[0] != first


# ---------------------------------------------------------------------------------------------------- split


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return read_corpus(write_corpus(tmp_path_factory.mktemp("corpus"), train=200, test=40))


def drawn(data: corpus.Dataset) -> tuple[list[list[int]], list[list[int]]]:
    """The encoded rows of the training and of the validation part."""
    return tuple(
        [part.batch(torch.tensor([i]))[0][0].tolist() for i in range(len(part))]
        for part in (data.train, data.validation)
    )


def test_the_same_seed_holds_out_the_same_rows(whole: Corpus) -> None:
    config = TrainingConfig(validation_share=0.1)
    data = prepare(whole, config, seed=3)
    assert (len(data.train), len(data.validation), len(data.test)) == (180, 20, 40)
    again = prepare(whole, config, seed=3)
    assert data.digests == again.digests
    assert drawn(data) == drawn(again)
    other = prepare(whole, config, seed=4)
    assert other.digests["train"] != data.digests["train"]
    assert other.digests["validation"] != data.digests["validation"]
    assert other.digests["test"] == data.digests["test"]


def test_the_parts_hold_each_training_row_once(whole: Corpus) -> None:
    numbered = replace(whole, train=Rows([f"row{i}" for i in range(100)], [i % 4 for i in range(100)]))
    data = prepare(numbered, TrainingConfig(validation_share=0.2), seed=0)
    words = set(data.vocabulary.words[2:])
    assert len(words) == len(data.train) == 80  # each row is a word of its own: those held out are not among them
    assert data.validation.batch(torch.arange(20))[0].tolist() == [[0]] * 20
    assert len(set(data.digests.values())) == 3


def test_the_digest_tells_rows_classes_and_order_apart() -> None:
    rows = Rows(["a", "b\tc"], [0, 1])
    others = [Rows(["a", "b\tc"], [0, 0]), Rows(["b\tc", "a"], [1, 0]), Rows(["a", "b c"], [0, 1]), Rows(["a"], [0])]
    assert rows.digest() == Rows(["a", "b\tc"], [0, 1]).digest()
    assert len({rows.digest(), *(other.digest() for other in others)}) == 5


def test_the_test_rows_choose_no_word(whole: Corpus) -> None:
    changed = replace(whole, test=Rows(["zebra zebra quagga minister"] * 50, [0] * 50))
    config = TrainingConfig(max_vocabulary=20)
    data, other = prepare(whole, config), prepare(changed, config)
    assert data.vocabulary.words == other.vocabulary.words
    assert "zebra" not in other.vocabulary
    assert drawn(data) == drawn(other)


def test_held_out_rows_choose_no_word(whole: Corpus) -> None:
    config = TrainingConfig(validation_share=0.25)
    order = torch.randperm(len(whole.train), generator=torch.Generator().manual_seed(0)).tolist()
    texts = list(whole.train.texts)
    texts[order[0]] = "zebra"  # the first of the held-out quarter
    data = prepare(replace(whole, train=Rows(texts, whole.train.classes)), config, seed=0)
    assert "zebra" not in data.vocabulary
    texts[order[-1]] = "quagga"
    assert "quagga" in prepare(replace(whole, train=Rows(texts, whole.train.classes)), config, seed=0).vocabulary


def test_a_limit_takes_so_many_rows_by_the_seed(whole: Corpus) -> None:
    data = prepare(whole, TrainingConfig(validation_share=0.1), seed=0, limit=50)
    assert (len(data.train), len(data.validation), len(data.test)) == (45, 5, 40)
    other = prepare(whole, TrainingConfig(validation_share=0.1), seed=1, limit=50)
    assert other.digests["train"] != data.digests["train"]


def test_nothing_is_held_out_where_nothing_is_asked_for(whole: Corpus) -> None:
    data = prepare(whole, TrainingConfig(validation_share=0.0))
    assert (len(data.train), len(data.validation)) == (200, 0)


def test_too_few_rows_for_a_split_are_refused(whole: Corpus) -> None:
    with pytest.raises(UserError, match="2 training rows are too few"):
        prepare(whole, TrainingConfig(), limit=2)


def test_a_corpus_of_rows_without_a_token_is_encoded(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    write_rows(tmp_path / "train.csv", [(1 + i % 2, '";:') for i in range(10)])
    data = prepare(read_corpus(tmp_path), TrainingConfig())
    assert data.train.lengths.tolist() == [0] * 9
    assert data.vocabulary.words == ("<unk>", "<pad>")
