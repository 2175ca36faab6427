"""What breaks on the way: the network, the disk, the process, the directory under a running page, the visitor."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
import torch
from apart import run_apart
from corpora import write_corpus
from hub_server import Handler, Hub, Repository
from tiny import same, tiny, weights

from app import Page, load_classifiers
from lens.notes import to_json
from lens.unit_measures import measure_units
from lens.units import UNITS
from model import Classifier, UserError, checkpoint, load, push, save
from model import hub as module
from model.files import CARD, NEEDED, encode
from viewer.gate import BUSY, LARGEST, LINE, TOO_LARGE
from viewer.page import EXPERIMENTS

ROOT = Path(__file__).parents[1]
NAME = "owner/tiny"
PROMISE = 10  # seconds that a host which stays silent may cost, as the documentation says


def refusal(action: Callable[..., object], *arguments: object) -> str:
    """The sentence with which something is refused."""
    with pytest.raises(UserError) as caught:
        action(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def pull(name: str = NAME) -> Classifier:
    return load(name, device="cpu")


# ------------------------------------------------------------------------------------------------ a host that is silent


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A host that takes every connection and never says a word."""
    from huggingface_hub import constants

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")
        yield


def timed(action: Callable[[], object]) -> tuple[object, float]:
    began = time.monotonic()
    return action(), time.monotonic() - began


def test_a_host_that_never_says_a_word_costs_ten_seconds_at_most_and_then_the_cache_serves(
    pushed: Hub, request: pytest.FixtureRequest
) -> None:
    pull()
    request.getfixturevalue("mute")
    loaded, seconds = timed(pull)
    assert same(loaded, tiny())
    assert seconds < PROMISE


def test_a_host_that_never_says_a_word_costs_ten_seconds_at_most_and_then_one_sentence(hub: Hub, mute: None) -> None:
    text, seconds = timed(lambda: refusal(pull))
    assert NAME in text
    assert "does not answer" in text
    assert seconds < PROMISE


@pytest.mark.parametrize("warm", [True, False])
def test_a_host_that_falls_silent_in_a_download_costs_ten_seconds_at_most(warm: bool, pushed: Hub) -> None:
    if warm:
        pull()
        push(tiny(seed=1), NAME)
    with pushed.fault(silent=True, on="GET .*resolve/.*safetensors"):
        found, seconds = timed(pull if warm else lambda: refusal(pull))
    assert same(found, tiny()) if warm else "does not answer" in found
    assert seconds < PROMISE


def test_an_answer_that_drips_costs_ten_seconds_at_most(pushed: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    pull()

    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(60):  # each byte well within every time limit of the client
                handler.wfile.write(b" ")
                handler.wfile.flush()
                if pushed.released.wait(0.5):
                    break
        handler.close_connection = True

    monkeypatch.setattr(Handler, "do_GET", drip)
    loaded, seconds = timed(pull)
    assert same(loaded, tiny())
    assert seconds < PROMISE


# --------------------------------------------------------------------------------------------------- a host that is ill


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("on", ["^GET /api", "HEAD .*resolve", "GET .*resolve"])
def test_a_fault_of_the_hub_at_any_request_leaves_the_cache_or_one_sentence(
    on: str, status: int, pushed: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # between its five tries
    with pushed.fault(status=status, on=on):
        assert f"status {status}" in refusal(pull)
    pull()
    push(tiny(seed=1), NAME)
    with pushed.fault(status=status, on=on):
        assert same(pull(), tiny())
    assert same(pull(), tiny(seed=1))


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize(
    "fault",
    [
        {"on": "HEAD .*resolve", "status": 500},
        {"on": "GET .*resolve", "status": 429, "retry_after": 3600},
        {"on": "GET .*resolve/.*safetensors", "deaf": True},
    ],
    ids=str,
)
def test_a_fault_of_the_hub_costs_ten_seconds_at_most_by_the_clock(fault: dict, warm: bool, pushed: Hub) -> None:
    if warm:
        pull()
        push(tiny(seed=1), NAME)
    with pushed.fault(**fault):
        found, seconds = timed(pull if warm else lambda: refusal(pull))
    assert same(found, tiny()) if warm else NAME in found
    assert seconds < PROMISE


def test_a_file_that_changes_between_two_reads_of_one_commit_is_not_mixed_with_the_first(
    pushed: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    repository = pushed.repositories[NAME]
    sha, tree = repository.commits[-1]
    with pushed.fault(reset="model.safetensors"):
        refusal(pull)  # the small files are in the cache now
    other = encode(tiny("gru", labels=("Left", "Right"), seed=1))
    repository.commits[-1] = (sha, tree | other)
    # The first configuration and the second weights: they do not fit, and nothing is made of the two.
    assert f"{NAME}/model.safetensors" in refusal(pull)
    repository.commits[-1] = (sha, tree)
    repository.commit(tree | other)
    assert pull().labels == ("Left", "Right")


@pytest.mark.parametrize("file", NEEDED)
def test_a_file_that_was_damaged_in_the_cache_is_taken_out_and_fetched_anew(file: str, pushed: Hub) -> None:
    path = (pull().source.directory / file).resolve()
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    assert f"{NAME}/{file} is not what the Hub announced" in refusal(pull)
    assert same(pull(), tiny())


@pytest.mark.parametrize("file", ["README.md", "model.safetensors"])
def test_a_huge_file_in_the_cache_is_refused_without_being_taken_into_memory(file: str, pushed: Hub) -> None:
    os.truncate((pull().source.directory / file).resolve(), 2**30)  # takes no room on the disk
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 512 * 2**20, limits[1]))
    try:
        assert "is not what the Hub announced" in refusal(pull)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert same(pull(), tiny())


# ---------------------------------------------------------------------------------------------------------- a full disk


def no_room(number: int = errno.ENOSPC) -> Callable[..., object]:
    def refuse(*arguments: object, **_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_disk_that_fills_in_a_download_is_said_and_nothing_half_written_is_used(
    pushed: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import file_download

    fetch = file_download.http_get

    def into_a_full_disk(url: str, file: object, *arguments: object, **options: object) -> None:
        with open("/dev/full", "wb", buffering=0) as full:
            fetch(url, full, *arguments, **options)

    with monkeypatch.context() as broken:
        broken.setattr(file_download, "http_get", into_a_full_disk)
        text = refusal(pull)
    assert NAME in text
    assert "make room" in text
    assert same(pull(), tiny())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("call", ["mkdir", "replace"])
def test_a_cache_that_cannot_take_a_new_commit_is_named_and_serves_the_one_it_has(
    call: str, number: int, pushed: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = pull().source.commit
    push(tiny(seed=1), NAME)
    with monkeypatch.context() as broken:
        for name in ("mkdir", "makedirs") if call == "mkdir" else ("replace", "rename", "link", "symlink"):
            broken.setattr(os, name, no_room(number))
        broken.setattr(shutil, "move", no_room(number))
        loaded = pull()
    assert loaded.source.commit == commit
    assert same(loaded, tiny())
    assert same(pull(), tiny(seed=1))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_an_empty_cache_that_cannot_be_written_is_one_sentence(
    number: int, pushed: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(os, "mkdir", no_room(number))
        broken.setattr(os, "makedirs", no_room(number))
        text = refusal(pull)
    assert os.strerror(number) in text
    assert "HF_HOME" in text
    assert same(pull(), tiny())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["mkdir", "fsync", "rename"])
def test_a_disk_that_fails_at_any_step_of_saving_leaves_the_old_one_whole(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tiny(), tmp_path / "it")
    right = getattr(os, call)
    for failing in range(1, 20):
        count = 0

        def counted(*arguments: object, failing: int = failing, **options: object) -> object:
            nonlocal count
            count += 1
            if count == failing:
                raise OSError(number, os.strerror(number))
            return right(*arguments, **options)

        with monkeypatch.context() as broken:
            broken.setattr(os, call, counted)
            try:
                save(tiny(seed=1), tmp_path / "it")
            except UserError as error:
                assert os.strerror(number) in str(error)  # noqa: PT017
        found = pull(str(tmp_path / "it"))
        assert same(found, tiny()) or same(found, tiny(seed=1))
        save(tiny(), tmp_path / "it")
        assert os.listdir(tmp_path) == ["it"]
        if count < failing:  # each of its calls has failed once
            break
    assert 1 < failing < 19


# ----------------------------------------------------------------------------------------------------- a killed process

# One process imports, which takes far longer than the work; each fork of it does the work and dies at one of its steps.
STEPS = """
import os, signal, sys, torch
torch.set_num_threads(1)
from tiny import tiny
from model import save
target, old, new = sys.argv[1], tiny(seed=1), tiny(seed=2)
save(new, target)
armed = left = 0

def step(event, arguments):
    global left
    if armed and event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(step)
for line in sys.stdin:
    save(old, target)
    child = os.fork()
    if not child:
        left, armed = int(line), 1
        save(new, target)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""

TRAINING = """
import os, signal, sys, time, torch
torch.set_num_threads(1)
import huggingface_hub.repocard_data  # what a run would import on its way
import train

# So does the first step of an optimizer. A gradient that was computed here would keep the forks from computing theirs.
weight = torch.nn.Parameter(torch.zeros(1))
weight.grad = torch.zeros(1)
torch.optim.AdamW([weight]).step()

def run(seed, out):
    options = f"--recipe rnn --epochs 1 --seed {seed}".split()
    sys.argv = ["train.py", "--data", sys.argv[1], "--out", out, *options]
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    train.main()

def fork(work):
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    return child

for seed in (1, 2):
    os.waitpid(fork(lambda: run(seed, f"{sys.argv[2]}/whole-{seed}")), 0)
began = time.monotonic()
os.waitpid(fork(lambda: run(1, f"{sys.argv[2]}/killed")), 0)
print(time.monotonic() - began, flush=True)
for line in sys.stdin:
    seed, seconds = line.split()
    child = fork(lambda: run(seed, f"{sys.argv[2]}/killed"))
    time.sleep(float(seconds))
    os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@contextlib.contextmanager
def python(script: str, *arguments: object) -> Iterator[Callable[[object], str]]:
    """A program in a process of its own, to which lines are said; it answers each with one."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def say(line: object) -> str:
        if line:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
        return process.stdout.readline().strip()

    with process:
        yield say
        process.stdin.close()


def test_a_saver_killed_at_each_single_step_leaves_the_old_or_the_new_one_whole(tmp_path: Path) -> None:
    old, new = tiny(seed=1), tiny(seed=2)
    found = []
    with python(STEPS, tmp_path / "it") as say:
        for step in range(1, 200):
            if say(step) == "0":
                break  # it has fewer steps than that
            loaded = pull(str(tmp_path / "it"))
            assert same(loaded, old) or same(loaded, new)
            found.append(loaded.record["seed"])
    assert len(found) > 20
    assert found == sorted(found)  # the old one up to one step, the new one from there on
    assert set(found) == {1, 2}


def test_training_killed_at_twenty_moments_leaves_a_whole_classifier(tmp_path: Path) -> None:
    generator = random.Random(0)
    corpus = write_corpus(tmp_path / "corpus", train=100, test=20)
    with python(TRAINING, corpus, tmp_path) as say:
        takes = float(say(""))  # seconds a run
        whole = {seed: weights(pull(str(tmp_path / f"whole-{seed}" / "rnn"))) for seed in (1, 2)}
        found, turn = {1}, 0
        while turn < 20 or (len(found) < 2 and turn < 200):  # on a busy machine few runs come to their end
            turn += 1
            assert say(f"{turn % 2 + 1} {generator.uniform(0, 1.3 * takes):.3f}") in ("0", "9")
            loaded = pull(str(tmp_path / "killed" / "rnn"))
            found.add(loaded.record["seed"])
            expected = whole[loaded.record["seed"]]
            assert all(torch.equal(weight, expected[name]) for name, weight in weights(loaded).items())
            assert loaded.record["test"]["rows"] == 20
    assert found == {1, 2}


# -------------------------------------------------------------------------------------------------------- a broken push


def broken_line(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def test_a_line_that_breaks_before_the_commit_leaves_the_repository_as_it_was(
    pushed: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(pushed.repositories[NAME].commits)
    respond = Handler.respond
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    with monkeypatch.context() as broken:
        broken.setattr(Handler, "do_POST", lambda self: (broken_line if "/commit/" in self.path else respond)(self))
        assert NAME in refusal(push, tiny(seed=1), NAME)
    assert any(request.startswith("PUT /upload") for request in pushed.requests)  # the weights are there already
    assert pushed.repositories[NAME].commits == before
    assert same(pull(), tiny())
    push(tiny(seed=1), NAME)
    assert same(pull(), tiny(seed=1))


def silence(handler: Handler) -> None:
    handler.hub.faults |= {"gone": True, "silent": True}
    handler.broken()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (broken_line, "RemoteProtocolError"),
        (silence, "TimeoutError"),
        (lambda handler: handler.refuse(502), "status 502"),
    ],
    ids=["broken line", "silence", "bad gateway"],
)
def test_an_answer_that_is_lost_after_the_commit_leaves_the_whole_commit_and_pushing_again_works(
    answer: Callable[[Handler], None], said: str, pushed: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    respond = Handler.respond

    def respond_until_the_commit(handler: Handler) -> None:
        if "/commit/" in handler.path:
            with monkeypatch.context() as mute:
                mute.setattr(handler, "answer", lambda *_, **__: None)
                respond(handler)
            answer(handler)
        else:
            respond(handler)

    with monkeypatch.context() as broken, pushed.fault(on="no request"):
        broken.setattr(module, "_PUSH_PATIENCE", 1.0)
        broken.setattr(module, "_PUSH_ANSWER", 1.0)
        broken.setattr(Handler, "do_POST", respond_until_the_commit)
        text = refusal(push, tiny(seed=1), NAME)
    # Nothing is claimed of what nobody here can know.
    assert f"did not confirm the commit to {NAME} ({said})" in text
    assert f"see {pushed.url}/{NAME}/commits/main, or push again" in text
    assert same(pull(), tiny(seed=1))
    commits = len(pushed.repositories[NAME].commits)
    assert push(tiny(seed=1), NAME).endswith(pushed.repositories[NAME].commits[-1][0])
    assert len(pushed.repositories[NAME].commits) == commits  # it is all there
    assert same(pull(), tiny(seed=1))


def test_a_push_that_was_given_up_before_its_commit_makes_none_later(
    pushed: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(pushed.repositories[NAME].commits)
    respond, awake = Handler.respond, threading.Event()

    def respond_late(handler: Handler) -> None:
        if "/preupload/" in handler.path or asked:
            asked.append(handler.path)
            awake.wait(30)
        respond(handler)

    asked: list[str] = []
    for limit in ("_PUSH_PATIENCE", "_PUSH_ANSWER"):
        monkeypatch.setattr(module, limit, 0.5)
    for method in ("do_POST", "do_GET"):
        monkeypatch.setattr(Handler, method, respond_late)
    text = refusal(push, tiny(seed=1), NAME)
    assert f"{NAME} cannot be pushed" in text
    assert "does not answer" in text
    awake.set()
    while not any(request.startswith("PUT /upload") for request in pushed.requests):
        time.sleep(0.01)
    time.sleep(0.5)  # for what would come next
    assert not any("/commit/" in request for request in pushed.requests)
    assert pushed.repositories[NAME].commits == before


PUSHER = "from tiny import tiny; from model import push; push(tiny(seed=1), 'owner/tiny')"


def test_a_push_that_is_killed_before_its_commit_leaves_the_repository_as_it_was(pushed: Hub) -> None:
    before = list(pushed.repositories[NAME].commits)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    with pushed.fault(silent=True, on="/commit/"):
        process = subprocess.Popen([sys.executable, "-c", PUSHER], cwd=ROOT, env=environment)
        while not any("/commit/" in request for request in pushed.requests):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert pushed.repositories[NAME].commits == before
    assert same(pull(), tiny())
    push(tiny(seed=1), NAME)
    assert same(pull(), tiny(seed=1))


# -------------------------------------------------------------------------------- a directory that changes under a page


def asked(page: Page, **question: object) -> dict:
    return page.answer(gr.EventData(None, {"text": "the cup fell", **question}))


def with_units(directory: Path, seed: int) -> Path:
    save(tiny(seed=seed), directory)
    classifier = load(directory, device="cpu")
    units = to_json(measure_units(classifier, ["the cup", "stocks fell"], [0, 1]))
    checkpoint.annotate(classifier, {UNITS: units})
    return directory


CHANGES: dict[str, Callable[[Path], object]] = {
    "trained anew": lambda directory: save(tiny(seed=2), directory),
    "trained and measured anew": lambda directory: with_units(directory, 2),
    "another network": lambda directory: save(tiny("rnn", labels=("Left", "Right", "Up")), directory),
    "deleted": shutil.rmtree,
    "weights damaged": lambda directory: (directory / "model.safetensors").write_bytes(b"x"),
    "a file instead": lambda directory: (shutil.rmtree(directory), directory.write_text("x")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_page_goes_on_with_the_classifier_it_loaded_whatever_becomes_of_the_directory(
    change: str, tmp_path: Path
) -> None:
    directory = with_units(tmp_path / "it", 1)
    page = Page(load_classifiers([str(directory)]))
    before = page.predict("the cup fell")
    CHANGES[change](directory)
    assert page.predict("the cup fell") == before
    answer = asked(page, units=[0])
    assert answer["error"] is None
    assert answer["models"][0]["trace"]["labels"] == ["Sport", "Money"]
    # Only now are the notes read: those about other weights must not be shown beside these.
    assert "missing" in answer["models"][0]["unit"]
    assert "windows" not in answer["models"][0]["unit"]
    assert answer["models"][0]["trajectory"] is None
    units = page.answer_units(SimpleNamespace(_data={}))["models"][0]
    assert units["units"] is None
    assert units["missing"].endswith(".")


def test_a_page_shows_the_notes_of_a_directory_that_did_not_change(tmp_path: Path) -> None:
    page = Page(load_classifiers([str(with_units(tmp_path / "it", 1))]))
    assert "windows" in asked(page, units=[0])["models"][0]["unit"]


# ------------------------------------------------------------------------------------ two apps, and what strangers send


class App:
    """The page in a process of its own."""

    def __init__(self, log: Path, *options: str, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "app.py", "--port", str(self.port), *options],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> None:
        """Until it answers."""
        end = time.monotonic() + 120
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(self.url, timeout=5).status_code == 200:
                    return
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def ask(self, endpoint: str, body: object = None, raw: bytes | None = None) -> httpx.Response | None:
        """What a client that posts directly gets; None where the line is cut."""
        content = json.dumps(body).encode() if raw is None else raw
        address = f"{self.url}/gradio_api/{endpoint}"
        try:
            return httpx.post(address, content=content, headers={"content-type": "application/json"}, timeout=60)
        except httpx.TransportError:
            return None

    def predict(self, text: str) -> dict[str, float]:
        answer = self.ask("run/predict", {"data": [text]})
        assert answer is not None
        assert answer.status_code == 200
        return answer.json()["data"][0][0]["probabilities"]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def two_apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[App, App]]:
    """Two that start at once and fetch the same classifier into one empty cache."""
    folder = tmp_path_factory.mktemp("apps")
    hub = Hub()
    hub.repositories[NAME] = Repository(NAME)
    hub.repositories[NAME].commit({**encode(tiny()), CARD: b"# It"})
    environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "GRADIO_TEMP_DIR": str(folder / "temp")}
    apps = tuple(App(folder / f"log-{number}", "--models", NAME, **environment) for number in (1, 2))
    for one in apps:
        one.wait()
    fetched = [request for request in hub.requests if request.startswith("GET") and "/resolve/" in request]
    assert len(fetched) >= len(NEEDED)
    yield apps
    for one in apps:
        one.stop()
    hub.close()


@pytest.fixture
def running(two_apps: tuple[App, App]) -> Iterator[App]:
    """One of them, which afterwards answers as before."""
    one = two_apps[0]
    before = one.predict("the cup fell")
    yield one
    assert one.process.poll() is None
    assert one.predict("the cup fell") == before


def test_two_apps_fill_one_empty_cache_at_once_and_both_show_the_classifier(two_apps: tuple[App, App]) -> None:
    expected = dict(zip(("Sport", "Money"), tiny().predict(["the cup fell"])[0].tolist(), strict=True))
    for one in two_apps:
        assert one.predict("the cup fell") == pytest.approx(expected, abs=1e-6)
        assert "Traceback" not in one.log.read_text()


def nested(depth: int, inside: str = "") -> bytes:
    return b'{"data": [' + b"[" * depth + inside.encode() + b"]" * depth + b"]}"


VALUES = [3, -1, 2.5, True, None, [], ["a"], [["a"]], {}, {"a": "b"}, 10**30, -(10**400)]
BODIES: list[object] = [None, 3, "a", [], {}, {"data": None}, {"data": "a"}, {"data": {"text": "a"}}, {"text": "a"}]
RAW = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b"\xff\xfe\x00",
    "not a number": b'{"data": [NaN]}',
    "deep lists": nested(100_000),
    "deep lists, closed in time": nested(900),
    "deep objects": b'{"data": [' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"]}",
    "a number of 100,000 digits": b'{"data": [' + b"9" * 100_000 + b"]}",
    "a million empty lists": b'{"data": [[' + b"[]," * 1_000_000 + b"[]]]}",
    "lone surrogates": b'{"data": ["\\ud800"], "session_hash": "\\ud800"}',
    "five million characters": json.dumps({"data": ["oil " * 1_250_000]}).encode(),
}


def refused_or_answered(answer: httpx.Response | None) -> None:
    """An answer, or an error without what only the operator may see."""
    if answer is None:
        return
    assert answer.status_code in (200, 400, 404, 405, 413, 422, 429, 500, 503)
    if answer.status_code != 200:
        assert "Traceback" not in answer.text
        assert str(ROOT) not in answer.text


@pytest.mark.parametrize("endpoint", ["predict", "trace", "word_order", "referee", "two_sentences"])
def test_values_of_other_types_are_refused_and_the_app_goes_on(endpoint: str, running: App) -> None:
    for value in VALUES:
        for data in ([value], [value, value], ["the cup", value], [value, "the cup"], ["the cup"] * 9, []):
            answer = running.ask(f"run/{endpoint}", {"data": data})
            refused_or_answered(answer)
            if answer is not None and answer.status_code == 500:
                assert answer.json()["error"].endswith(".")
    assert "Traceback" not in running.log.read_text()


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_a_request_of_another_form_is_refused_and_the_app_goes_on(body: object, running: App) -> None:
    answer = running.ask("run/predict", body)
    assert answer is not None
    assert 400 <= answer.status_code <= 500
    refused_or_answered(answer)


@pytest.mark.parametrize("name", RAW)
def test_huge_and_deeply_nested_requests_are_answered_or_refused_and_the_app_goes_on(name: str, running: App) -> None:
    answer = running.ask("run/predict", raw=RAW[name])
    refused_or_answered(answer)
    if len(RAW[name]) > LARGEST:
        assert answer is not None
        assert answer.status_code == 413
        assert answer.json() == {"error": TOO_LARGE}


def test_more_requests_than_may_wait_are_refused_with_a_sentence_and_all_others_answered(running: App) -> None:
    async def all_at_once() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=running.url, timeout=120, limits=limits) as client:
            body = {"data": ["the cup fell " * 60, 0]}
            return await asyncio.gather(*(client.post("gradio_api/run/word_order", json=body) for _ in range(400)))

    answers = run_apart(all_at_once())
    told = {answer.status_code: answer.json() for answer in answers}
    assert set(told) == {200, 503}
    assert told[503] == {"error": BUSY}
    assert sum(answer.status_code == 200 for answer in answers) >= LINE


# What the page's own components post: negative and absurd numbers of units and seeds, and of the event itself.
QUESTIONS = [
    *(
        {"text": "the cup", key: value}
        for key in ("units", "silenced")
        for value in ([-1], [10**30], [True], -1, [0, 0])
    ),
    *({"text": "the cup", key: value} for key in ("number", "target", "method", "other") for value in VALUES),
    *({"name": "word_order", "text": "the cup", "seed": seed} for seed in VALUES),
    *({"name": name, "text": "the cup"} for name in (-1, "", "magic", ["x"], None)),
    *VALUES,
]


@pytest.mark.parametrize("event", range(3))
def test_negative_numbers_of_units_seeds_and_events_are_answered_with_a_sentence(event: int, running: App) -> None:
    for question in QUESTIONS:
        body = {"data": [], "fn_index": event, "session_hash": "a", "event_data": question}
        answer = running.ask("run/predict", body)
        refused_or_answered(answer)
        assert answer is not None
        if answer.status_code == 200:
            told = json.loads(answer.json()["data"][0])
            assert told.get("error") is None or told["error"].endswith(".")


@pytest.mark.parametrize("number", [-1, 999, 10**30, "x", None, 1.5, [0]])
@pytest.mark.parametrize("endpoint", ["run/predict", "queue/join", "call/predict"])
def test_an_event_that_there_is_not_is_refused_and_the_app_goes_on(endpoint: str, number: object, running: App) -> None:
    refused_or_answered(running.ask(endpoint, {"data": ["a"], "fn_index": number, "session_hash": "a"}))


PLACES = [
    ("POST", "gradio_api/run/nothing"),
    ("POST", "gradio_api/call/nothing"),
    ("GET", "gradio_api/run/predict"),
    ("DELETE", ""),
    ("GET", "nowhere"),
    ("GET", "../../etc/passwd"),
    ("GET", "gradio_api/file=/etc/passwd"),
    ("GET", f"gradio_api/file={ROOT / 'app.py'}"),
    ("GET", "gradio_api/file=app.py"),
    ("GET", "static/..%2f..%2f..%2fetc/passwd"),
    ("GET", "assets/%2e%2e/%2e%2e/app.py"),
    ("GET", "gradio_api/proxy=http://127.0.0.1:1/"),
    ("POST", "login"),
]


@pytest.mark.parametrize(("method", "path"), PLACES)
def test_an_address_that_there_is_not_is_refused_and_gives_no_file_away(method: str, path: str, running: App) -> None:
    answer = httpx.request(method, f"{running.url}/{path}", json={"data": ["a"]} if method == "POST" else None)
    assert 400 <= answer.status_code <= 500
    assert "root:" not in answer.text
    assert "import gradio" not in answer.text


def test_nothing_can_be_uploaded_and_the_traffic_is_not_shown(running: App) -> None:
    sent = httpx.post(f"{running.url}/gradio_api/upload", files={"files": ("a.txt", b"Rumpelstilzchen")})
    assert 400 <= sent.status_code < 500
    kept = [path for path in running.log.parent.rglob("*") if path.is_file() and path != running.log]
    assert not any(b"Rumpelstilzchen" in path.read_bytes() for path in kept)
    for path in ("monitoring", "monitoring/summary", "gradio_api/monitoring"):
        assert "url_unique_requests" not in httpx.get(f"{running.url}/{path}", follow_redirects=True).text
        assert httpx.get(f"{running.url}/{path}").status_code >= 400


def test_the_text_of_a_request_whole_or_not_is_neither_logged_nor_stored(two_apps: tuple[App, App]) -> None:
    one, secret = two_apps[1], "Rumpelstilzchen"
    for endpoint in ("predict", "trace", *EXPERIMENTS):
        for data in ([secret], [[secret]], [secret, None], [secret, secret], [{"a": secret}, None], [secret, [secret]]):
            for way in ("run", "call"):  # directly, and through the queue
                refused_or_answered(one.ask(f"{way}/{endpoint}", {"data": data}))
    for event in range(3):
        for question in ({"text": secret}, {"text": [secret]}, {"text": "a", "target": secret}, {"name": secret}):
            one.ask("run/predict", {"data": [], "fn_index": event, "session_hash": secret, "event_data": question})
    assert one.ask("run/predict", {"data": secret}).status_code == 422
    folder = one.log.parent
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert one.log in files
    assert not [path for path in files if secret.encode() in path.read_bytes()]
