"""What hosts read of this tree: the front matter of the README, the lists of versions, the Dockerfile."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
from pathlib import Path
from typing import Any

import httpx
import hub_server
import pytest
import yaml
from huggingface_hub import SpaceHardware
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from benchmarks.running import free_port

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FRONT: dict[str, Any] = yaml.safe_load(README.split("---\n")[1])
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def script(name: str) -> str:
    """A program that a package brought into this environment."""
    found = shutil.which(name, path=sysconfig.get_path("scripts"))
    assert found, f"{name} is not installed: pip install -r requirements-dev.txt"
    return found


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name]


def lines(name: str) -> list[str]:
    """The lines of a file that are neither empty nor a comment."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def requirements(name: str) -> dict[str, SpecifierSet]:
    return {needed.name: needed.specifier for needed in map(Requirement, lines(name))}


def pins(name: str) -> dict[str, Version]:
    """The one version of each package that a constraints file lets in."""
    found = {}
    for needed in map(Requirement, lines(name)):
        (pin,) = needed.specifier
        assert pin.operator == "=="
        found[needed.name.replace("_", "-")] = Version(pin.version)
    return found


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile: name and the rest of the line."""
    joined = "\n".join(lines("Dockerfile")).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines()]  # type: ignore[misc]


def instruction(name: str) -> str:
    (found,) = [rest for each, rest in dockerfile() if each == name]
    return found


# ---------------------------------------------------------------------------------------------------- front matter


def test_the_front_matter_holds_what_a_space_is_made_from_and_nothing_that_the_hub_does_not_know():
    needed = {"title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "license"}
    known = needed | {"short_description", "suggested_hardware", "models", "preload_from_hub", "tags", "thumbnail"}
    assert needed <= set(FRONT) <= known
    assert FRONT["sdk"] == "gradio"
    assert {FRONT["colorFrom"], FRONT["colorTo"]} <= COLOURS
    assert len(FRONT["emoji"]) == 1
    assert ord(FRONT["emoji"]) > 0x2000
    assert 0 < len(FRONT["short_description"]) <= 60
    assert FRONT["suggested_hardware"] in {flavour.value for flavour in SpaceHardware}
    assert FRONT["license"].upper() in (ROOT / "LICENSE").read_text().upper()


def test_the_front_matter_names_the_gradio_that_the_tests_run_with():
    assert Version(FRONT["sdk_version"]) == pins("constraints.txt")["gradio"]
    assert FRONT["sdk_version"] in requirements("requirements.txt")["gradio"]


def test_the_front_matter_names_a_python_that_the_project_takes_as_text_and_the_container_has_the_same():
    python = FRONT["python_version"]
    assert isinstance(python, str)  # 3.10 as a number would be 3.1
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(project["requires-python"]).contains(python)
    assert re.fullmatch(rf"python:{re.escape(python)}(-\S+)?", instruction("FROM"))


def test_the_files_that_the_front_matter_names_are_in_the_tree():
    files = tracked()
    assert FRONT["app_file"] in files
    if not str(FRONT.get("thumbnail", "https://")).startswith("https://"):
        assert FRONT["thumbnail"] in files


def test_what_is_preloaded_is_named_among_the_models_too():
    models = FRONT["models"]
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", name) for name in models)
    assert {name.split()[0] for name in FRONT.get("preload_from_hub", [])} <= set(models)


def test_no_file_of_the_tree_is_above_ten_megabytes():
    sizes = {name: (ROOT / name).stat().st_size for name in tracked() if (ROOT / name).exists()}
    assert max(sizes.values()) <= 10_000_000


# ---------------------------------------------------------------------------------------------------- versions


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_each_requirement_has_a_pin_that_it_admits(name):
    pinned = pins("constraints.txt")
    for package, admitted in requirements(name).items():
        assert pinned[package] in admitted, package


def test_the_oldest_versions_are_the_lower_bounds_of_the_requirements_but_for_torch():
    oldest = pins("constraints-oldest.txt")
    for package, admitted in requirements("requirements.txt").items():
        if package != "torch":
            (bound,) = [each.version for each in admitted if each.operator in (">=", "==")]
            assert oldest[package] == Version(bound), package
    assert oldest["torch"] in {pins("constraints.txt")["torch"], Version("2.8.0")}
    assert set(requirements("requirements-dev.txt")) <= set(oldest)


# ---------------------------------------------------------------------------------------------------- uploading


@pytest.fixture
def spaces(hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch) -> hub_server.Hub:
    """The Hub of the tests, with the same routes for Spaces."""
    more = [
        (method, pattern.replace("/api/models/", "/api/spaces/"), action)
        for method, pattern, action in hub_server.ROUTES
        if "/api/models/" in pattern
    ] + [
        (method, f"/spaces{pattern}", action)
        for method, pattern, action in hub_server.ROUTES
        if pattern.endswith("/batch")
    ]
    monkeypatch.setattr(hub_server, "ROUTES", (*more, *hub_server.ROUTES))
    return hub


def hf_upload(start: str, cwd: Path) -> None:
    """Runs the README's command that starts so."""
    (command,) = [line for line in README.splitlines() if line.startswith(f"hf upload {start}")]
    done = subprocess.run(
        [script("hf"), *shlex.split(command)[1:]], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_command_for_a_space_brings_the_whole_tree_there_and_no_environment(spaces, tmp_path):
    names = tracked()
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    for name in (".venv/bin/python", ".venv-oldest/bin/python", ".git/HEAD"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("not for a Space")
    hf_upload("OWNER/SPACE .", tmp_path)
    arrived = spaces.repositories["OWNER/SPACE"].tree
    assert set(arrived) == set(names)
    for name in names:
        if name != ".gitattributes":
            assert arrived[name] == (ROOT / name).read_bytes(), name
    assert b"*.safetensors filter=lfs" in arrived[".gitattributes"]


def test_the_command_for_a_classifier_brings_its_directory_into_a_repository(hub, tmp_path):
    shutil.copytree(ROOT / "model" / "pretrained" / "lstm", tmp_path / "checkpoints" / "lstm")
    hf_upload("OWNER/agnews-lstm checkpoints/lstm", tmp_path)
    arrived = hub.repositories["OWNER/agnews-lstm"].tree
    for file in (tmp_path / "checkpoints" / "lstm").iterdir():
        assert arrived[file.name] == file.read_bytes()


def test_each_test_that_the_readme_names_for_a_fault_is_there():
    named = re.findall(r"`([\w/]+)::(test_\w+)`", README)
    assert len(named) > 30
    for file, name in named:
        assert f"def {name}(" in (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------ ZeroGPU

# Stands in for the package `spaces`, which needs a torch built for CUDA. As on ZeroGPU, it wants to come before torch,
# every later look for a GPU finds one, and a Space that starts has to have a function for it.
SPACES = """
import sys
assert "torch" not in sys.modules, "spaces must be imported before torch"
import torch
torch.accelerator.current_accelerator = lambda check_available=False: torch.device("cuda")
import gradio as gr
decorated, launch = [], gr.Blocks.launch
def GPU(task):
    decorated.append(task)
    return task
def counted(*args, **kwargs):
    print("functions for the GPU:", len(decorated), flush=True)
    return launch(*args, **kwargs)
gr.Blocks.launch = counted
"""


def test_on_zerogpu_the_page_has_a_function_for_the_gpu_and_reads_on_the_cpu(tmp_path):
    (tmp_path / "spaces.py").write_text(SPACES)
    port, log = free_port(), tmp_path / "log"
    environment = {**os.environ, "SPACES_ZERO_GPU": "true", "PYTHONPATH": str(tmp_path)}
    environment.pop("UNROLLED_MODELS", None)
    with open(log, "wb") as output:
        command = [sys.executable, "app.py", "--port", str(port)]
        running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        answer, deadline = None, time.monotonic() + 120
        while answer is None:
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            try:
                answer = httpx.post(f"http://127.0.0.1:{port}/gradio_api/run/predict", json={"data": ["oil"]})
            except httpx.TransportError:
                time.sleep(0.2)
        assert answer.status_code == 200
        assert "functions for the GPU: 1" in log.read_text()
    finally:
        running.terminate()
        running.wait(20)


def test_on_zerogpu_without_its_package_there_is_one_sentence(tmp_path):
    (tmp_path / "spaces.py").write_text("raise ImportError('no spaces')")
    environment = {**os.environ, "SPACES_ZERO_GPU": "true", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == ("This Space runs on ZeroGPU, which needs the package spaces: add it to requirements.txt.\n")


def test_elsewhere_the_package_spaces_is_not_looked_for(tmp_path):
    (tmp_path / "spaces.py").write_text("raise RuntimeError('imported')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    environment.pop("SPACES_ZERO_GPU", None)
    done = subprocess.run([sys.executable, "app.py", "--help"], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------------------------------------- container


def test_the_linter_finds_nothing_in_the_dockerfile():
    done = subprocess.run([script("hadolint"), "--no-color", "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_container_runs_as_somebody_who_is_not_root_and_installs_what_the_tests_ran_with():
    names = [name for name, _ in dockerfile()]
    assert int(instruction("USER")) > 0
    assert names.index("USER") < names.index("CMD")
    installed = [part for name, rest in dockerfile() if name == "RUN" for part in rest.split("&&") if "pip " in part]
    assert installed
    assert all("--constraint constraints.txt" in part for part in installed)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The files that the Dockerfile copies, where .dockerignore lets them through, and nobody may write."""
    let_through = {line.removeprefix("!") for line in lines(".dockerignore") if line.startswith("!")}
    place = tmp_path / "app"
    for sources in (rest.split()[:-1] for name, rest in dockerfile() if name == "COPY"):
        for source in sources:
            assert source in let_through
            for name in tracked():
                if name == source or (source.endswith("/") and name.startswith(source)):
                    (place / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / name, place / name)
    for directory, _, _ in os.walk(place):
        os.chmod(directory, 0o555)
    return place


def test_the_containers_command_serves_the_page_from_the_files_that_are_copied_and_its_health_check_tells(image):
    environment = dict(os.environ) | dict(pair.split("=") for pair in shlex.split(instruction("ENV")))
    environment |= {"HF_HUB_OFFLINE": "1", "GRADIO_SERVER_NAME": "127.0.0.1", "HTTP_PROXY": "http://127.0.0.1:9"}
    environment.pop("UNROLLED_MODELS", None)
    environment["GRADIO_SERVER_PORT"] = str(free_port())
    health = [sys.executable, *json.loads(instruction("HEALTHCHECK").split("CMD", 1)[1])[1:]]
    command = [sys.executable, *json.loads(instruction("CMD"))[1:]]
    if os.geteuid() == 0:  # takes root's right to write everywhere away
        command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", *command]

    def healthy() -> bool:
        return subprocess.run(health, env=environment, stderr=subprocess.DEVNULL).returncode == 0

    assert not healthy()

    def hear_signals() -> None:  # a shell that runs the tests in the background lets its children ignore Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with open(image.parent / "log", "wb") as log:
        running = subprocess.Popen(command, cwd=image, env=environment, stdout=log, stderr=log, preexec_fn=hear_signals)
    try:
        deadline = time.monotonic() + 120
        while not healthy():
            assert running.poll() is None, (image.parent / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        running.send_signal(signal.Signals[instruction("STOPSIGNAL")])
        try:
            running.wait(60)
        except subprocess.TimeoutExpired:
            running.kill()
            raise
    assert not healthy()
    assert not list(image.rglob("*.pyc"))
    assert not list(image.rglob("*.pyi"))
