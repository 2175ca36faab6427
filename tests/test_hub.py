"""The Hub, through the real client: what is pushed is what is loaded, and whatever goes wrong is one sentence."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hub_server import TOKEN, Handler, Hub, Repository
from tiny import same, tiny

from model import UserError, card, load, push, save
from model import hub as module
from model.files import FILES, LARGEST, NEEDED

NAME = "owner/tiny"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limits, a tenth as long."""
    for limit in ("_RESOLVE", "_PATIENCE", "_ANSWER", "_PUSH_PATIENCE", "_PUSH_ANSWER"):
        monkeypatch.setattr(module, limit, getattr(module, limit) / 10)


def refusal(action, *arguments: object, **options: object) -> str:
    """The sentence with which something is refused."""
    with pytest.raises(UserError) as caught:
        action(*arguments, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def pull(revision: str | None = None, name: str = NAME):
    return load(name, revision=revision, device="cpu")


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")


# ---------------------------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("half", [True, False])
def test_a_pushed_classifier_loads_bit_for_bit(cell: str, half: bool, hub: Hub, tmp_path: Path) -> None:
    save(tiny(cell, half=half), tmp_path / "it")
    push(load(tmp_path / "it", device="cpu"), NAME)
    pulled = pull()
    assert same(tiny(cell, half=half), pulled)
    save(pulled, tmp_path / "again")
    for file in NEEDED:
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "it" / file).read_bytes()


def test_a_push_is_one_commit_of_all_files(hub: Hub) -> None:
    address = push(tiny(), NAME)
    created, (sha, tree) = hub.repositories[NAME].commits
    assert set(tree) == {*NEEDED, "README.md", *created[1]}
    assert address == f"{hub.url}/{NAME}/commit/{sha}"
    assert f'load("{NAME}")' in tree["README.md"].decode()


def test_a_loaded_classifier_knows_its_repository_and_commit(pushed: Hub) -> None:
    source = pull().source
    assert (source.kind, source.name, source.commit) == ("hub", NAME, pushed.repositories[NAME].commits[-1][0])
    assert (source.directory / "config.json").is_file()


def test_names_are_those_that_the_hub_resolves(hub: Hub) -> None:
    hub.canonical["OWNER/Tiny"] = NAME
    assert NAME in push(tiny(), "OWNER/Tiny")
    assert list(hub.repositories) == [NAME]
    assert f'load("{NAME}")' in hub.repositories[NAME].tree["README.md"].decode()
    assert pull(name="OWNER/Tiny").source.name == NAME


def test_a_revision_is_a_branch_a_tag_or_a_commit(pushed: Hub) -> None:
    first = pushed.repositories[NAME].commits[-1][0]
    pushed.repositories[NAME].tags["v1"] = first
    push(tiny(seed=1), NAME)
    assert same(pull(), tiny(seed=1))
    assert same(pull("main"), tiny(seed=1))
    for revision in (first, "v1"):
        assert same(pull(revision), tiny())
        assert pull(revision).source.commit == first


def test_only_the_files_of_a_classifier_are_fetched(pushed: Hub) -> None:
    tree = pushed.repositories[NAME].tree
    pushed.repositories[NAME].commit(tree | {"pytorch_model.bin": b"x", "code/config.json": b"{}", "units.json": b"{}"})
    folder = pull().source.directory
    assert set(os.listdir(folder)) == {*NEEDED, "README.md", "units.json"}
    assert {r.rsplit("/", 1)[1] for r in pushed.requests if "/resolve/" in r} <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_a_file_larger_than_a_classifiers_is_refused_before_it_is_fetched(file: str, pushed: Hub) -> None:
    tree = pushed.repositories[NAME].tree
    pushed.repositories[NAME].commit({"findings.json": b"{}", "units.json": b"{}"} | tree)
    with pushed.fault(announced={file: LARGEST[file] + 1}):
        text = refusal(pull)
    assert f"{NAME}/{file}" in text
    assert f"{LARGEST[file]:,}" in text
    assert not any("/resolve/" in request for request in pushed.requests)
    with pushed.fault(announced={file: LARGEST[file]}):
        assert same(pull(), tiny())


def test_the_limits_are_those_of_reading() -> None:
    small = set(FILES) - {"model.safetensors", "vocab.txt"}
    assert LARGEST["model.safetensors"] == 4 * 2**30
    assert LARGEST["vocab.txt"] == 512 * 2**20
    assert {LARGEST[file] for file in small} == {16 * 2**20}


@pytest.mark.parametrize("file", ["model.safetensors", "vocab.txt", "config.json"])
def test_a_host_that_sends_more_than_it_announced_fills_no_disk(file: str, pushed: Hub) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))  # whoever writes more is told of a full disk
    try:
        with pushed.fault(endless=file):
            text = refusal(pull)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"{NAME}/{file}" in text
    assert f"{len(pushed.repositories[NAME].tree[file]):,} bytes that it announced" in text
    assert same(pull(), tiny())


def test_a_host_that_announces_no_size_is_held_to_the_largest(pushed: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = dict.fromkeys(FILES)
    with pushed.fault(announced=nothing, endless="vocab.txt"), monkeypatch.context() as smaller:
        smaller.setitem(LARGEST, "vocab.txt", 2**20)
        assert "1,048,576" in refusal(pull)
    with pushed.fault(announced=nothing):
        assert same(pull(), tiny())


def test_what_is_in_the_cache_is_not_fetched_again(pushed: Hub) -> None:
    commit = pull().source.commit
    pushed.requests.clear()
    pull()
    assert not any("/resolve/" in request for request in pushed.requests)
    pushed.requests.clear()
    pull(commit)
    assert pushed.requests == []


def test_a_private_repository_is_made_and_read_with_the_token_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    push(tiny(), NAME, private=True)
    assert hub.repositories[NAME].private
    assert same(pull(), tiny())
    monkeypatch.delenv("HF_TOKEN")
    assert "private" in refusal(pull)


def test_a_public_repository_is_not_taken_for_a_private_one(pushed: Hub) -> None:
    assert "public" in refusal(push, tiny(seed=1), NAME, private=True)
    assert len(pushed.repositories[NAME].commits) == 2


def test_pushing_the_same_again_works(pushed: Hub) -> None:
    push(tiny(), NAME)
    assert same(pull(), tiny())


# ---------------------------------------------------------------------------------------------------- what is kept


def test_a_card_edited_by_hand_is_not_overwritten(pushed: Hub) -> None:
    repository = pushed.repositories[NAME]
    repository.commit(repository.tree | {"README.md": b"# Mine\n"})
    push(tiny(seed=1), NAME)
    assert repository.tree["README.md"] == b"# Mine\n"
    assert same(pull(), tiny(seed=1))


def test_a_card_of_any_size_is_not_overwritten_and_a_huge_one_not_fetched(pushed: Hub) -> None:
    before = pushed.repositories[NAME].tree["README.md"]
    with pushed.fault(announced={"README.md": LARGEST["README.md"] + 1}):
        push(tiny(seed=1, labels=("Left", "Right")), NAME)
    assert not any("/resolve/" in request for request in pushed.requests)
    assert pushed.repositories[NAME].tree["README.md"] == before


def test_a_generated_card_is_renewed(pushed: Hub) -> None:
    push(tiny(seed=1, labels=("Left", "Right")), NAME)
    text = pushed.repositories[NAME].tree["README.md"]
    assert b"Left" in text
    assert not card.edited_by_hand(text)


def test_a_card_edited_while_it_is_pushed_is_not_overwritten(pushed: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = pushed.repositories[NAME]
    render = card.render

    def meanwhile(*arguments: object) -> str:
        repository.commit(repository.tree | {"README.md": b"# Mine\n"})
        return render(*arguments)

    monkeypatch.setattr(card, "render", meanwhile)
    assert "changed meanwhile" in refusal(push, tiny(seed=1), NAME)
    assert repository.tree["README.md"] == b"# Mine\n"


def test_notes_go_along_and_do_not_outlive_their_weights(hub: Hub, tmp_path: Path) -> None:
    save(tiny(), tmp_path / "it")
    (tmp_path / "it" / "units.json").write_text("[1]")
    push(load(tmp_path / "it", device="cpu"), NAME)
    assert (pull().source.directory / "units.json").read_text() == "[1]"
    push(tiny(), NAME)
    assert "units.json" in hub.repositories[NAME].tree
    push(tiny(seed=1), NAME)
    assert "units.json" not in hub.repositories[NAME].tree


# ---------------------------------------------------------------------------------------------------- access


def test_without_a_token_a_push_says_how_to_log_in(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    text = refusal(push, tiny(), NAME)
    assert NAME in text
    assert "hf auth login" in text
    assert hub.requests == []


@pytest.mark.parametrize("bad", ["hf_someone_else", "hf_\u00e4", "hf_a b\x01c"])
def test_a_refused_token_is_said_and_never_shown(
    bad: str, pushed: Hub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, caplog
) -> None:
    monkeypatch.setenv("HF_TOKEN", bad)
    for text in (refusal(push, tiny(), NAME), refusal(pull)):
        assert NAME in text
        assert "token" in text
        assert bad not in text
    assert bad not in "".join([*capfd.readouterr(), caplog.text])


def everything_said(error: BaseException | None) -> str:
    """What a traceback would show of an error."""
    import traceback

    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_a_token_that_a_host_sends_back_is_never_shown(
    status: int, pushed: Hub, capfd: pytest.CaptureFixture, caplog
) -> None:
    with pushed.fault(status=status, echo=True):
        for action in (lambda: push(tiny(), NAME), pull):
            with pytest.raises(UserError) as caught:
                action()
            assert TOKEN not in everything_said(caught.value)
    assert TOKEN not in "".join([*capfd.readouterr(), caplog.text])


def test_a_token_is_stored_nowhere(pushed: Hub, tmp_path: Path) -> None:
    save(pull(), tmp_path / "it")
    home = Path(os.environ["HF_HOME"])
    files = [path for place in (tmp_path, home) for path in place.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not any(TOKEN.encode() in path.read_bytes() for path in files)
    assert not any(TOKEN.encode() in data for data in pushed.repositories[NAME].tree.values())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 401, "message": "Invalid credentials in Authorization header"}, "token was refused"),
        ({"status": 403, "message": "Forbidden"}, "does not allow"),
        ({"status": 403, "code": "GatedRepo"}, "gated"),
        ({"status": 404, "code": "RepoNotFound"}, "no such repository"),
        ({"status": 429, "on": "create|revision|models/owner/tiny$"}, "too many"),
        ({"status": 500, "on": "create|models/owner/tiny$"}, "status 500"),
        ({"status": 503, "on": "create|models/owner/tiny$"}, "status 503"),
        ({"status": 418, "message": "I am a teapot."}, "418: I am a teapot"),
    ],
    ids=str,
)
def test_each_refusal_is_one_sentence_that_names_the_repository(fault: dict, said: str, pushed: Hub) -> None:
    with pushed.fault(**fault):
        for text in (refusal(push, tiny(), NAME), refusal(pull)):
            assert NAME in text
            assert said in text


def test_a_gated_repository_is_said_to_be_one(pushed: Hub) -> None:
    pushed.repositories[NAME].gated = True
    assert "gated" in refusal(pull)


def test_a_name_that_is_neither_here_nor_there_names_both(hub: Hub) -> None:
    text = refusal(pull, name="owner/nothing")
    assert "no directory owner/nothing" in text
    assert "no such repository" in text


def test_a_revision_that_is_not_there_is_named(pushed: Hub) -> None:
    assert "no revision v9" in refusal(pull, "v9")
    assert "b" * 40 in refusal(pull, "b" * 40)


@pytest.mark.parametrize("revision", ["../../x", "", "/etc", "a/../b", "a b", "x\0", "-v"])
def test_a_revision_that_could_be_a_path_is_refused(revision: str, pushed: Hub) -> None:
    refusal(pull, revision)
    assert pushed.requests == []


@pytest.mark.parametrize("name", ["name", "a/b/c", "", "../x", "a/b\n", "owner/" + "x" * 200])
def test_a_name_for_no_repository_is_refused(name: str, hub: Hub) -> None:
    assert "owner/name" in refusal(push, tiny(), name)
    assert hub.requests == []


def test_a_repository_of_something_else_is_refused(hub: Hub) -> None:
    hub.repositories[NAME] = Repository(NAME)
    hub.repositories[NAME].commit({"pytorch_model.bin": b"x", "config.json": b"{}"})
    assert "lacks model.safetensors" in refusal(pull)
    assert not any("/resolve/" in request for request in hub.requests)


def test_a_damaged_file_on_the_hub_is_named_by_its_repository(pushed: Hub) -> None:
    repository = pushed.repositories[NAME]
    config = json.loads(repository.tree["config.json"])
    config["network"]["hidden_dim"] = 4096
    repository.commit(repository.tree | {"config.json": json.dumps(config).encode()})
    assert f"{NAME}/model.safetensors" in refusal(pull)


# ---------------------------------------------------------------------------------------------------- faults


def test_without_a_network_the_cache_serves(pushed: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = pull().source.commit
    no_network(monkeypatch)
    assert same(pull(), tiny())
    assert pull().source.commit == commit
    assert same(pull(commit), tiny())
    assert "cannot be reached" in refusal(pull, "v1")


def test_without_a_network_and_a_cache_there_is_one_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    for text in (refusal(pull), refusal(push, tiny(), NAME)):
        assert NAME in text
        assert "cannot be reached" in text


def test_offline_mode_reads_the_cache_and_is_named_where_that_is_empty(
    pushed: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    pull()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same(pull(), tiny())
    assert "HF_HUB_OFFLINE" in refusal(pull, name="owner/other")


@pytest.mark.parametrize("on", ["", "HEAD .*resolve", "GET .*resolve/.*safetensors"])
def test_a_silent_host_costs_ten_seconds_at_most(on: str, pushed: Hub, quick: None) -> None:
    with pushed.fault(silent=True, on=on):
        began = time.monotonic()
        assert "does not answer" in refusal(pull)
        assert time.monotonic() - began < 1.3  # a tenth of the time, and the computing
    pull()
    push(tiny(seed=1), NAME)
    with pushed.fault(silent=True, on=on):
        began = time.monotonic()
        assert same(pull(), tiny())
        assert time.monotonic() - began < 1.3


def test_a_program_ends_at_once_after_a_silent_host(pushed: Hub) -> None:
    root = Path(__file__).parents[1]
    script = (
        "import time; from model import UserError, hub; hub._RESOLVE = 2; hub._PATIENCE = hub._ANSWER = 0.2\n"
        f"try: hub.load({NAME!r}, device='cpu')\nexcept UserError: print(time.time())"
    )
    with pushed.fault(silent=True, on="HEAD .*resolve"):
        output = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60)
        assert time.time() - float(output.stdout) < 5


def test_the_time_limits_add_up_to_less_than_ten_seconds() -> None:
    assert module._RESOLVE + module._PATIENCE + module._ANSWER < 10


def test_a_host_that_is_slow_but_there_is_waited_for(pushed: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.001)
    assert same(pull(), tiny())
    asked = [request for request in pushed.requests if request.startswith("HEAD")]
    assert len(asked) > len(set(asked))  # once by the client, and again


def test_a_download_that_drips_is_waited_for(pushed: Hub, monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    answer = Handler.answer

    def drip(handler: Handler, status: int, body: bytes = b"", **headers: str) -> None:
        if handler.command != "GET" or "/resolve/" not in handler.path or handler.headers["Range"]:
            answer(handler, status, body, **headers)
            return
        answer(handler, status, b"", **headers, Content_Length=str(len(body)))
        for begin in range(0, len(body), len(body) // 5):
            handler.wfile.write(body[begin : begin + len(body) // 5])
            handler.wfile.flush()
            time.sleep(0.3)  # longer in all than the time limits together

    monkeypatch.setattr(Handler, "answer", drip)
    assert same(pull(), tiny())


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize(
    "fault",
    [
        *({"status": status} for status in (408, 429, 500, 502, 503, 504)),
        {"status": 429, "retry_after": 3600},
        {"status": 503, "retry_after": 3600},
        {"deaf": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("on", ["GET /api", "HEAD .*resolve", "GET .*resolve", "GET .*resolve/.*safetensors"])
def test_a_fault_of_the_host_costs_ten_seconds_at_most(
    on: str, fault: dict, warm: bool, pushed: Hub, quick: None
) -> None:
    if warm:
        pull()
        push(tiny(seed=1), NAME)
    with pushed.fault(**fault, on=on):
        began = time.monotonic()
        if warm:
            assert same(pull(), tiny())
        else:
            assert NAME in refusal(pull)
        assert time.monotonic() - began < 1.3  # a tenth of the time, and the computing


def test_a_silent_host_ends_a_push(pushed: Hub, monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    with pushed.fault(silent=True):
        assert "does not answer" in refusal(push, tiny(seed=1), NAME)
    assert len(pushed.repositories[NAME].commits) == 2


@pytest.mark.parametrize("file", ["model.safetensors", "vocab.txt"])
def test_a_download_that_breaks_off_leaves_the_old_one_or_one_sentence(
    file: str, pushed: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    with pushed.fault(reset=file):
        assert NAME in refusal(pull)
    pull()
    push(tiny(seed=1), NAME)
    # The second classifier's words are the first one's, and need no download.
    with pushed.fault(reset=file):
        assert same(pull(), tiny(seed=0 if file == "model.safetensors" else 1))
    assert same(pull(), tiny(seed=1))


@pytest.mark.parametrize("file", ["model.safetensors", "vocab.txt"])
def test_a_file_that_differs_from_what_was_announced_is_refused_and_not_kept(file: str, pushed: Hub) -> None:
    with pushed.fault(tamper=file):
        assert file in refusal(pull)
    assert same(pull(), tiny())


def test_a_fault_of_the_hub_leaves_the_cache_to_serve(pushed: Hub) -> None:
    pull()
    push(tiny(seed=1), NAME)
    with pushed.fault(status=500, on="^GET /api"):
        assert same(pull(), tiny())


def test_a_cache_that_cannot_be_written_is_named(pushed: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    text = refusal(pull)
    assert str(tmp_path / "file") in text
    assert "HF_HOME" in text


def test_a_full_disk_is_said_and_nothing_half_written_is_used(pushed: Hub) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        text = refusal(pull)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert NAME in text
    assert "make room" in text
    assert same(pull(), tiny())


def test_a_cache_that_only_reads_serves_what_it_holds(pushed: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    pull()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(30, "Read-only file system")

    for name in ("mkstemp", "mkdtemp"):
        monkeypatch.setattr(f"tempfile.{name}", refuse)
    for name in ("makedirs", "mkdir", "replace", "rename", "symlink"):
        monkeypatch.setattr(f"os.{name}", refuse)
    assert same(pull(), tiny())


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400, "on": "preupload"},
        {"status": 403, "on": "objects/batch"},
        {"status": 403, "on": "PUT /upload"},
        {"status": 500, "on": "/commit/"},
        {"status": 400, "on": "validate-yaml"},
    ],
    ids=str,
)
def test_a_push_that_breaks_before_its_commit_leaves_the_repository_as_it_was(fault: dict, pushed: Hub) -> None:
    before = list(pushed.repositories[NAME].commits)
    with pushed.fault(**fault):
        assert NAME in refusal(push, tiny(seed=1), NAME)
    assert pushed.repositories[NAME].commits == before
    push(tiny(seed=1), NAME)
    assert same(pull(), tiny(seed=1))
