"""A classifier as a directory: what is saved is what is loaded, whenever and however things break."""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny import same, tiny, weights

from model import Classifier, UserError, checkpoint, load, save
from model.files import FILES, NEEDED
from model.text import PADDING, UNKNOWN, Vocabulary

CELLS = ("rnn", "lstm", "gru")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(tiny(), tmp_path / "it")
    return tmp_path / "it"


def refusal(directory: Path | str) -> str:
    """The sentence with which a directory is refused."""
    with pytest.raises(UserError) as caught:
        load(directory, device="cpu")
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


# ---------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("half", [True, False])
def test_a_saved_classifier_loads_bit_for_bit(cell: str, half: bool, tmp_path: Path) -> None:
    one = tiny(cell, half=half)
    save(one, tmp_path / "it")
    other = load(tmp_path / "it", device="cpu")
    assert same(one, other)
    assert all(weight.dtype == torch.float32 for weight in weights(other).values())
    assert not other.network.training


def test_weights_are_stored_in_half_precision_where_that_loses_nothing(tmp_path: Path) -> None:
    save(tiny(half=True), tmp_path / "half")
    save(tiny(half=False), tmp_path / "whole")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "whole")]
    count = tiny().parameters
    assert sizes[1] - sizes[0] == pytest.approx(2 * count, rel=0.2)


@pytest.mark.parametrize("cell", CELLS)
def test_a_loaded_network_computes_with_its_own_weights_and_learns(cell: str, tmp_path: Path) -> None:
    save(tiny(cell), tmp_path / "it")
    network = load(tmp_path / "it", device="cpu").network
    # nn.RNNBase keeps a list of its weights beside the named ones; both must be the same tensors.
    assert [id(w) for w in network.recurrence._flat_weights] == [id(w) for w in network.recurrence.parameters()]
    network(torch.tensor([[2, 3]]), torch.tensor([2])).sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_words_that_look_like_line_ends_survive(tmp_path: Path) -> None:
    one = tiny()
    odd = ("\x85", "a\u2028b", "c\r", "\x1c")
    one.vocabulary = Vocabulary([UNKNOWN, PADDING, *odd])
    save(one, tmp_path / "it")
    assert load(tmp_path / "it", device="cpu").vocabulary.words[2:] == odd


def test_a_directory_holds_the_documented_files_and_nothing_stays_beside_it(saved: Path) -> None:
    save(tiny(seed=1), saved)
    assert set(os.listdir(saved)) == {*NEEDED, "README.md"}
    assert os.listdir(saved.parent) == ["it"]


def test_the_source_is_the_directory_and_those_that_ship_are_bundled(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = load(str(saved), device="cpu").source
    assert (source.kind, source.name, source.commit, source.directory) == ("directory", str(saved), None, saved)
    monkeypatch.setattr(checkpoint, "BUNDLED", tmp_path)
    assert load(saved, device="cpu").source.kind == "bundled"


@pytest.mark.parametrize("written", ["it", "./it", "../{here}/it"])
def test_a_directory_may_be_named_from_where_one_stands(
    written: str, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved.parent)
    assert same(load(written.format(here=saved.parent.name), device="cpu"), tiny())


def test_a_directory_with_a_slash_in_its_name_is_not_taken_for_a_repository(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved.parent.parent)
    assert load(f"{saved.parent.name}/it", device="cpu").source.kind == "directory"


def test_a_revision_of_a_directory_is_refused(saved: Path) -> None:
    with pytest.raises(UserError, match="revision"):
        load(str(saved), revision="main")


@pytest.mark.parametrize("name", ["", "nothing here", "a\0b", "one", "a/b/c", "https://example/a", "a//b", "-a/b"])
def test_a_name_that_means_nothing_is_refused_in_one_sentence(name: str) -> None:
    assert "owner/name" in refusal(name)


def test_a_missing_directory_is_refused_by_its_name(tmp_path: Path) -> None:
    assert "There is no directory" in refusal(tmp_path / "nowhere")
    assert "./nowhere" in refusal("./nowhere") or "nowhere" in refusal("./nowhere")


# ---------------------------------------------------------------------------------------------------- what is kept


def test_notes_stay_while_the_weights_stay(saved: Path, tmp_path: Path) -> None:
    (saved / "units.json").write_text("{}")
    save(tiny(), saved)
    assert (saved / "units.json").read_text() == "{}"
    save(load(saved, device="cpu"), tmp_path / "copy")
    assert (tmp_path / "copy" / "units.json").read_text() == "{}"


def test_notes_about_other_weights_go(saved: Path) -> None:
    (saved / "units.json").write_text("{}")
    save(tiny(seed=1), saved)
    assert not (saved / "units.json").exists()


def test_a_card_edited_by_hand_stays_and_a_generated_one_is_renewed(saved: Path) -> None:
    before = (saved / "README.md").read_text()
    save(tiny(seed=1, labels=("Left", "Right")), saved)
    assert (saved / "README.md").read_text() != before
    (saved / "README.md").write_text("Mine.")
    save(tiny(seed=2), saved)
    assert (saved / "README.md").read_text() == "Mine."


def test_saving_over_something_else_is_refused_and_deletes_nothing(saved: Path, tmp_path: Path) -> None:
    (saved / "thesis.tex").write_text("years")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        save(tiny(seed=1), saved)
    assert (saved / "thesis.tex").read_text() == "years"
    assert same(load(saved, device="cpu"), tiny())
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file"):
        save(tiny(), tmp_path / "file")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.network.linear.bias.data.fill_(float("nan")), "finite"),
        (lambda c: setattr(c, "vocabulary", Vocabulary([UNKNOWN, PADDING, "a\nb", "c", "d", "e"])), "one word a line"),
        (lambda c: setattr(c, "labels", ("\ud800", "b")), "UTF-8"),
        (lambda c: c.record.update(loss=float("inf")), "JSON"),
        (lambda c: c.record.update(loss=object()), "JSON"),
    ],
)
def test_what_could_not_be_loaded_again_is_not_saved(spoil, message: str, saved: Path) -> None:
    classifier = tiny(seed=1)
    spoil(classifier)
    with pytest.raises(UserError, match=message):
        save(classifier, saved)
    assert same(load(saved, device="cpu"), tiny())


# ---------------------------------------------------------------------------------------------------- interruption


def states(directory: Path, old: Classifier, new: Classifier) -> list:
    """Each state that an interrupted save can leave, with whether the new classifier is then the one that counts."""
    partial, fresh, former = (directory.parent / f".it.{role}" for role in ("partial", "new", "old"))
    half = lambda path: (path.mkdir(), (path / "config.json").write_text("{"))  # noqa: E731
    return [
        (lambda: (save(old, directory), half(partial)), False),
        (lambda: (save(old, directory), save(new, fresh)), False),
        (lambda: (save(old, former), save(new, fresh)), True),
        (lambda: (save(new, directory), save(old, former)), True),
        (lambda: (save(new, directory), half(partial)), True),
        (lambda: save(new, fresh), True),
        (lambda: save(old, former), False),
    ]


@pytest.mark.parametrize("index", range(7))
def test_load_and_the_next_save_recover_from_every_state_between(index: int, tmp_path: Path) -> None:
    old, new, third = tiny(seed=1), tiny(seed=2), tiny(seed=3)
    directory = tmp_path / "it"
    for finish in (lambda: load(str(directory), device="cpu"), lambda: save(third, directory)):
        make, newer = states(directory, old, new)[index]
        make()
        finish()
        loaded = load(directory, device="cpu")
        if finish.__code__.co_names[0] == "load":
            assert same(loaded, new if newer else old)
        else:
            assert same(loaded, third)
            assert os.listdir(tmp_path) == ["it"]
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()


def test_a_relative_name_in_the_middle_of_an_exchange_is_still_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tiny(), "checkpoints/it")
    os.rename("checkpoints/it", "checkpoints/.it.old")
    assert same(load("checkpoints/it", device="cpu"), tiny())


def test_a_directory_that_may_not_be_written_is_read_in_the_middle_of_an_exchange(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.rename(saved, saved.parent / ".it.old")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkpoint.os, "rename", refuse)
    assert same(load(saved, device="cpu"), tiny())


# Importing takes far longer than saving: one process imports, and each fork of it is killed.
SAVER = """
import os, sys, time, torch
torch.set_num_threads(1)
from tiny import tiny
from model import save
either = [tiny(seed=1), tiny(seed=2)]
save(either[0], sys.argv[1])
print("ready", flush=True)
for seconds in sys.stdin:
    child = os.fork()
    while not child:
        for classifier in either:
            save(classifier, sys.argv[1])
    time.sleep(float(seconds))
    os.kill(child, 9)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


def test_a_saver_killed_at_any_moment_leaves_the_old_or_the_new_one_whole(tmp_path: Path) -> None:
    directory = tmp_path / "it"
    either = [tiny(seed=1), tiny(seed=2)]
    generator = random.Random(0)
    root = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", SAVER, str(directory)],
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        found, kills = set(), 0
        while kills < 20 or (len(found) < 2 and kills < 200):  # on a busy machine few saves come to their end
            kills += 1
            process.stdin.write(f"{generator.uniform(0.01, 0.1)}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "killed\n"
            loaded = load(directory, device="cpu")
            assert any(same(loaded, one) for one in either)
            found.add(loaded.record["seed"])
        process.stdin.close()
    assert found == {1, 2}


def test_a_reader_beside_a_saver_never_sees_a_mixture(tmp_path: Path) -> None:
    directory = tmp_path / "it"
    either = [tiny(seed=1), tiny(seed=2)]
    save(either[0], directory)
    child = os.fork()
    if not child:  # pragma: no cover
        try:
            while True:
                for classifier in either:
                    save(classifier, directory)
        finally:
            os._exit(1)
    try:
        end = time.monotonic() + 1.5
        seen = set()
        while time.monotonic() < end:
            loaded = load(directory, device="cpu")
            assert any(same(loaded, one) for one in either)
            seen.add(loaded.record["seed"])
        assert seen == {1, 2}
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("limit", [100, 400, 1500])
def test_a_disk_that_fills_leaves_the_old_one_whole(limit: int, saved: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(UserError, match="untouched"):
            save(tiny(seed=1), saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert same(load(saved, device="cpu"), tiny())
    assert os.listdir(saved.parent) == ["it"]


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_rename_that_fails_leaves_the_old_one_whole(
    failing: int, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, count = os.rename, 0

    def counted(source, target) -> None:
        nonlocal count
        count += 1
        if count == failing:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(checkpoint.os, "rename", counted)
    with pytest.raises(UserError, match="Input/output"):
        save(tiny(seed=1), saved)
    monkeypatch.undo()
    # The third one brings the new one to its place; what follows may finish that.
    assert any(same(load(saved, device="cpu"), one) for one in (tiny(), tiny(seed=1))[: 2 if failing == 3 else 1])


# ---------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("file", NEEDED)
def test_a_directory_that_lacks_a_file_is_refused_by_its_name(file: str, saved: Path) -> None:
    (saved / file).unlink()
    assert f"lacks {file}" in refusal(saved)


@pytest.mark.parametrize("file", NEEDED)
def test_a_truncated_file_is_refused_by_its_name(file: str, saved: Path) -> None:
    data = (saved / file).read_bytes()
    for length in (0, 1, 7, len(data) // 2, len(data) - 3):
        (saved / file).write_bytes(data[:length])
        assert file in refusal(saved)


@pytest.mark.parametrize("file", NEEDED)
def test_a_foreign_file_is_refused_by_its_name(file: str, saved: Path) -> None:
    for data in (b"\xff\xfe\x00binary", b"[]", b"null", b'{"a": NaN}', b"[" * 100_000, b"\n" * 6, b'{"test": 1}'):
        (saved / file).write_bytes(data)
        assert file in refusal(saved)


@pytest.mark.parametrize("file", NEEDED)
def test_any_changed_byte_gives_a_classifier_or_the_one_error(file: str, saved: Path) -> None:
    generator = random.Random(file)
    data = (saved / file).read_bytes()
    for _ in range(60):
        changed = bytearray(data)
        changed[generator.randrange(len(data))] = generator.randrange(256)
        (saved / file).write_bytes(changed)
        try:
            load(saved, device="cpu").predict(["the cup"])
        except UserError:
            continue


@pytest.mark.parametrize("file", FILES[:4])
@pytest.mark.parametrize("kind", ["directory", "pipe", "link out", "dangling link", "loop"])
def test_only_a_regular_file_of_the_directory_is_opened(kind: str, file: str, saved: Path, tmp_path: Path) -> None:
    path = saved / file
    path.rename(tmp_path / "elsewhere")
    {
        "directory": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link out": lambda: path.symlink_to(tmp_path / "elsewhere"),
        "dangling link": lambda: path.symlink_to("/nowhere"),
        "loop": lambda: path.symlink_to(path),
    }[kind]()
    assert file in refusal(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"vocabulary_size": 10_000_000, "embedding_dim": 4096},
        {"hidden_dim": 4096},
        {"hidden_dim": 10**30},
        {"vocabulary_size": -1},
        {"vocabulary_size": 0},
        {"vocabulary_size": 6.0},
        {"vocabulary_size": "6"},
        {"vocabulary_size": True},
        {"num_classes": 3},
        {"num_classes": None},
        {"embedding_dim": [3]},
        {"cell": "gru"},
        {"cell": "../../../etc/passwd"},
        {"cell": ["lstm"]},
        {"readout": {}},
        {"padding": None},
        {"packed": 1},
        {"word_dropout": "0"},
    ],
    ids=str,
)
def test_a_hostile_network_configuration_is_refused_before_memory_is_taken(change: dict, saved: Path) -> None:
    path = saved / "config.json"
    value = json.loads(path.read_text())
    value["network"] |= change
    path.write_text(json.dumps(value))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "config.json" in refusal(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format": "1"},
        {"format": True},
        {"format": None},
        {"tokenizer": "/etc/passwd"},
        {"tokenizer": ["basic_english"]},
        {"labels": "ab"},
        {"labels": ["a"]},
        {"labels": ["a", "a"]},
        {"labels": ["a", 1]},
        {"labels": ["a", " "]},
        {"labels": ["a", "\ud800"]},
        {"labels": {"a": 1, "b": 2}},
        {"network": []},
        {"network": {"cell": "lstm", "code": "import os"}},
        {"network": {}},
    ],
    ids=str,
)
def test_a_configuration_that_says_something_else_is_refused(change: dict, saved: Path) -> None:
    path = saved / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert "config.json" in refusal(saved)


def test_numbers_that_are_none_are_refused_in_json(saved: Path) -> None:
    for number in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000):
        (saved / "training.json").write_text(f'{{"seconds": {number}}}')
        assert "training.json" in refusal(saved)


@pytest.mark.parametrize(
    "test",
    [
        None,
        {},
        {"accuracy": 2},
        {"accuracy": "high"},
        {"interval": [0.1]},
        {"interval": [0.1, "b"]},
        {"confusion": [[1, 2]]},
        {"confusion": [[1, 2], [3, -4]]},
        {"confusion": [[1, 2], [3, 10**400]]},
        {"confusion": 5},
        {"rows": 1},
    ],
    ids=lambda test: str(test)[:40],
)
def test_a_record_whose_test_cannot_be_shown_is_refused(test: dict | None, saved: Path) -> None:
    path = saved / "training.json"
    record = json.loads(path.read_text())
    record["test"] = record["test"] | test if test else test
    path.write_text(json.dumps(record))
    assert "training.json" in refusal(saved)


def test_a_record_without_a_test_is_fine(saved: Path) -> None:
    (saved / "training.json").write_text("{}")
    assert load(saved, device="cpu").record == {}


def test_a_pickled_file_is_refused_and_never_run(saved: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    for file in NEEDED:
        data = (saved / file).read_bytes()
        (saved / file).write_bytes(pickle.dumps(Bomb()))
        assert file in refusal(saved)
        torch.save({"a": Bomb()}, saved / file)
        assert file in refusal(saved)
        (saved / file).write_bytes(data)
    assert not (tmp_path / "ran").exists()


def rewrite_header(path: Path, change) -> None:
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.pop("linear.bias"),
        lambda h: h.update(extra=h["linear.bias"]),
        lambda h: h["linear.bias"].update(shape=[3]),
        lambda h: h["linear.bias"].update(shape="2"),
        lambda h: h["linear.bias"].update(dtype="I16"),
        lambda h: h["linear.bias"].update(dtype=["F16"]),
        lambda h: h["linear.bias"].update(data_offsets=[0, 4]),
        lambda h: h["linear.bias"].update(data_offsets=[-4, 2**70]),
        lambda h: h["linear.bias"].pop("data_offsets"),
        lambda h: h.update({"linear.bias": 5}),
    ],
)
def test_weights_whose_header_does_not_fit_are_refused(change, saved: Path) -> None:
    rewrite_header(saved / "model.safetensors", change)
    assert "model.safetensors" in refusal(saved)


def test_a_header_of_absurd_length_is_not_read(saved: Path) -> None:
    (saved / "model.safetensors").write_bytes(struct.pack("<Q", 2**63) + b"{}")
    assert "not a safetensors file" in refusal(saved)


def test_weights_that_are_not_finite_are_refused(saved: Path) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-2] + b"\x00\x7c")  # infinity in half precision
    assert "finite" in refusal(saved)


@pytest.mark.parametrize(
    "words",
    [
        b"<unk>\n<pad>\na\nb\nc",
        b"<unk>\n<pad>\na\nb\nc\nd\ne\n",
        b"<pad>\n<unk>\na\nb\nc\nd\n",
        b"<unk>\n<pad>\na\na\nc\nd\n",
        b"<unk>\r\n<pad>\r\na\r\nb\r\nc\r\nd\r\n",
        b"<unk>\n<pad>\na\n\xff\nc\nd\n",
    ],
)
def test_a_vocabulary_that_is_none_is_refused(words: bytes, saved: Path) -> None:
    (saved / "vocab.txt").write_bytes(words)
    assert "vocab.txt" in refusal(saved)
