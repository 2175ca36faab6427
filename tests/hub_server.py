"""A small Hub on this machine: the routes that the real client takes to create, commit to, list and read a repository.

Repositories are in memory, each a list of commits, each commit a whole tree. `Hub.fault` breaks things on purpose.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_a_token_that_must_stay_secret"
LFS = (".safetensors",)


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def digest(path: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if path.endswith(LFS) else blob_id(data)


@dataclass
class Repository:
    name: str
    private: bool = False
    gated: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)  # sha and tree, oldest first
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, tree: dict[str, bytes]) -> str:
        """Adds a commit.

        Returns:
            Its sha.
        """
        sha = hashlib.sha1(
            f"{self.name} {len(self.commits)} {sorted(map(blob_id, tree.values()))}".encode()
        ).hexdigest()
        self.commits.append((sha, dict(tree)))
        return sha

    @property
    def tree(self) -> dict[str, bytes]:
        return self.commits[-1][1]

    def resolve(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        revision = self.tags.get(revision, revision)
        return next((commit for commit in self.commits if commit[0] == revision), None)


class Hub:
    """The server and its state.

    Attributes:
        repositories: by name.
        canonical: for a name as people type it, the name as the Hub has it.
        requests: "METHOD /path" of each request, in order.
        faults: what is broken, see `Handler.broken`.
    """

    def __init__(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.hub = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.released = threading.Event()
        self.reset()
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def reset(self) -> None:
        """An empty Hub without faults."""
        self.released.set()  # lets go of whoever is kept waiting
        self.released = threading.Event()
        self.repositories: dict[str, Repository] = {}
        self.canonical: dict[str, str] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.faults: dict[str, Any] = {}

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    @contextmanager
    def fault(self, **faults: Any) -> Iterator[None]:
        """Breaks things for a while: `status=500`, `silent=True`, `reset="model.safetensors"`, ...; `on=REGEX` says
        for which requests."""
        self.faults = faults
        try:
            yield
        finally:
            self.released.set()
            self.released = threading.Event()
            self.faults = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 2**16  # one packet an answer
    disable_nagle_algorithm = True
    server: Any

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes | dict | list = b"", **headers: str) -> None:
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str = "", message: str = "", **headers: str) -> None:
        headers |= {"X_Error_Code": code} if code else {}
        if message:
            headers["X_Error_Message"] = message
        self.answer(status, {"error": message or code}, **headers)

    def broken(self) -> bool:
        """Whether a fault took this request.

        `status`: answers with it (with `code`, `message` and `retry_after`); `echo`: sends the token back in the error;
        `deaf`: no such request is answered; `silent`: from the first such request on, none at all is. Those for one
        file are in `resolve`: `reset` sends half of the file of that name and cuts the line, `tamper` sends other
        bytes, `endless` sends bytes for as long as they are taken. `announced` holds sizes to lie with in `info`.
        """
        faults = self.hub.faults
        request = f"{self.command} {urlsplit(self.path).path}"
        if not faults or not (faults.get("gone") or re.search(faults.get("on", ""), request)):
            return False
        if faults.get("silent") or faults.get("deaf"):
            faults["gone"] = faults.get("silent")
            self.hub.released.wait(30)
            self.close_connection = True
            return True
        if "status" in faults:
            message = faults.get("message", "")
            if faults.get("echo"):
                message = f"bad header: {self.headers['Authorization']}"
            later = {"Retry_After": str(faults["retry_after"])} if "retry_after" in faults else {}
            self.refuse(faults["status"], faults.get("code", ""), message, **later)
            return True
        return False

    def respond(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.broken():
            return
        path = unquote(urlsplit(self.path).path)
        for method, pattern, action in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method.split():
                action(self, *match.groups())
                return
        self.refuse(404, message=f"no route {self.command} {path}")

    do_GET = do_HEAD = do_POST = do_PUT = respond

    # ------------------------------------------------------------------------------------------------ access

    @property
    def authorized(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def repository(self, name: str) -> Repository | None:
        """The repository, or None after a refusal."""
        if self.headers.get("Authorization") and not self.authorized:
            self.refuse(401, message="Invalid credentials in Authorization header")
            return None
        found = self.hub.repositories.get(self.hub.canonical.get(name, name))
        if found is None or (found.private and not self.authorized):
            self.refuse(404 if self.authorized else 401, "RepoNotFound", "Repository not found")
            return None
        if found.gated:
            self.refuse(403 if self.authorized else 401, "GatedRepo", f"Access to model {name} is restricted.")
            return None
        return found

    def commit_of(self, name: str, revision: str) -> tuple[Repository, str, dict[str, bytes]] | None:
        repository = self.repository(name)
        if repository is None:
            return None
        commit = repository.resolve(revision)
        if commit is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repository, *commit

    # ------------------------------------------------------------------------------------------------ write

    def create(self) -> None:
        if not self.authorized:
            self.refuse(401, message="Invalid username or password.")
            return
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'someone'}/{asked['name']}"
        name = self.hub.canonical.get(name, name)
        url = {"url": f"{self.hub.url}/{name}", "name": name, "id": name}
        if name in self.hub.repositories:
            self.answer(409, {**url, "error": "You already created this model repo"})
            return
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repositories[name] = repository = Repository(name, private)
        repository.commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
        self.answer(200, url)

    def validate(self) -> None:
        self.answer(200, {"errors": [], "warnings": []})

    def preupload(self, name: str, revision: str) -> None:
        found = self.commit_of(name, revision)
        if found is None:
            return
        tree = found[2]
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LFS) else "regular",
                "shouldIgnore": False,
                "oid": digest(file["path"], tree[file["path"]]) if file["path"] in tree else None,
            }
            for file in json.loads(self.body)["files"]
        ]
        self.answer(200, {"files": files})

    def lfs_batch(self, name: str) -> None:
        if self.repository(name) is None:
            return
        objects = []
        for item in json.loads(self.body)["objects"]:
            answer = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.blobs:
                answer["actions"] = {"upload": {"href": f"{self.hub.url}/upload/{item['oid']}"}}
            objects.append(answer)
        self.answer(200, {"transfer": "basic", "objects": objects})

    def upload(self, announced: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != announced:
            self.refuse(400, message="digest differs")
            return
        self.hub.blobs[announced] = self.body
        self.answer(200)

    def commit(self, name: str, revision: str) -> None:
        found = self.commit_of(name, revision)
        if found is None:
            return
        repository, sha, tree = found
        tree = dict(tree)
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header" and value.get("parentCommit", sha) != sha:
                self.refuse(412, message="The branch moved")
                return
            if item["key"] == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            if item["key"] == "lfsFile":
                tree[value["path"]] = self.hub.blobs[value["oid"]]
            if item["key"] == "deletedFile":
                del tree[value["path"]]
        sha = repository.commit(tree)
        self.answer(200, {"commitUrl": f"{self.hub.url}/{repository.name}/commit/{sha}", "commitOid": sha})

    # ------------------------------------------------------------------------------------------------ read

    def info(self, name: str, revision: str | None = None) -> None:
        found = self.commit_of(name, revision or "main")
        if found is None:
            return
        repository, sha, tree = found
        siblings = []
        for path, data in tree.items():
            sibling: dict[str, Any] = {"rfilename": path}
            if "blobs=" in urlsplit(self.path).query:  # sizes are for who asks for them
                size = self.hub.faults.get("announced", {}).get(path, len(data))
                sibling |= {"size": size, "blobId": blob_id(data)}
            if "blobId" in sibling and path.endswith(LFS):
                sibling["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            siblings.append(sibling)
        self.answer(
            200,
            {"id": repository.name, "sha": sha, "private": repository.private, "gated": False, "siblings": siblings},
        )

    def resolve(self, name: str, revision: str, file: str) -> None:
        found = self.commit_of(name, revision)
        if found is None:
            return
        _, sha, tree = found
        if file not in tree:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        data = tree[file]
        headers = {"X_Repo_Commit": sha, "ETag": f'"{digest(file, data)}"'}
        if self.command == "GET" and self.hub.faults.get("tamper") == file:
            data = bytes(byte ^ 1 for byte in data)
        if self.command == "GET" and self.hub.faults.get("endless") == file:
            self.send_without_end(headers)
            return
        if self.command == "GET" and self.hub.faults.get("reset") == file:
            self.answer(200, data[: len(data) // 2], Content_Length=str(len(data)), **headers)
            self.close_connection = True
            return
        self.answer(200, data, **headers, **({"Content_Length": str(len(data))} if self.command == "HEAD" else {}))

    def send_without_end(self, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):  # until the client has enough, or this test
            for _ in range(200):
                self.wfile.write(bytes(2**20))


_ID = r"([^/]+/[^/]+)"
ROUTES = (
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", f"/api/models/{_ID}/preupload/(.+)", Handler.preupload),
    ("POST", f"/{_ID}\\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("PUT", "/upload/([0-9a-f]{64})", Handler.upload),
    ("POST", f"/api/models/{_ID}/commit/(.+)", Handler.commit),
    ("GET", f"/api/models/{_ID}", Handler.info),
    ("GET", f"/api/models/{_ID}/revision/(.+)", Handler.info),
    ("GET HEAD", f"/{_ID}/resolve/([^/]+)/(.+)", Handler.resolve),
)
