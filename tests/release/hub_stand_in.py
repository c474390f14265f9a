"""A stand-in for the Hub's HTTP interface, on this machine, with faults on demand.

It keeps what the Hub keeps (commits with a tree each, large files by sha256) and refuses what the Hub refuses. The real
huggingface_hub client talks to it through `HF_ENDPOINT`.
"""

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from harness.server import POLL_S

TOKEN = "hf_stand_in"
LARGE_BYTES = 1 << 20


@dataclass
class Fault:
    """Something that goes wrong.

    Attributes:
        method: Of the request.
        path: Regular expression for its path.
        status: Answered instead of the right answer; 0 cuts the connection in the middle of the request's body, -1
            after the request has been carried out, before the answer.
        times: How often.
        message: What the server says.
        headers: Sent with the answer.
    """

    method: str
    path: str
    status: int
    times: int = 1
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Commit:
    """One commit: its id and the whole tree, (is large, sha1 or sha256, size) by path."""

    oid: str
    message: str
    tree: dict[str, tuple[bool, str, int]]


@dataclass
class Repository:
    """One repository's commits, oldest first."""

    commits: list[Commit] = field(default_factory=list)

    @property
    def head(self) -> Commit:
        """The newest commit."""
        return self.commits[-1]

    def at(self, revision: str) -> Commit:
        """A commit by branch name or id; `KeyError` when there is none."""
        if revision == "main":
            return self.head
        for commit in self.commits:
            if commit.oid == revision:
                return commit
        raise KeyError(revision)


class Hub:
    """What the stand-in holds and what it saw."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.small: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.publishers: set[str] = set()
        self.uploads: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        self.endpoint = ""

    def fault(self, method: str, path: str) -> Fault | None:
        """The next fault for a request, used up by asking."""
        with self.lock:
            self.requests.append((method, path))
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def content(self, repo_id: str, path: str) -> bytes:
        """A file of a repository's head."""
        is_large, oid, _ = self.repositories[repo_id].head.tree[path]
        return self.large[oid] if is_large else self.small[oid]


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """Reads."""
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815  (the base class's names)

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        fault = self.hub.fault(self.command, path)
        if fault is not None and fault.status == 0:
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
            self._cut()
            return
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length is not None else self._chunked()
        if fault is not None and fault.status > 0:
            self._send(fault.status, {"error": fault.message}, {"X-Error-Message": fault.message, **fault.headers})
            return
        if path == "/api/models":
            body = urlsplit(self.path).query.encode()  # what the list is filtered by
        # What was stored before this request's own work, so that a cut after it is seen by the client as a failure.
        for method, pattern, action in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method.split("|"):
                is_open = any(word in pattern for word in ("storage", "resolve", "oauth", "id-token", "models$"))
                if not is_open and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    self._send(401, {"error": "Invalid username or password."})
                    return
                status, answer, headers = action(self.hub, body, *match.groups())
                if fault is not None:
                    self._cut()
                    return
                self._send(status, answer, headers)
                return
        self._send(404, {"error": f"no route {self.command} {path}"})

    def _chunked(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return b""
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def _send(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Access-Control-Allow-Origin", "*")
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


Answer = tuple[int, Any, dict[str, str]]


def _missing(what: str) -> Answer:
    return 404, {"error": f"{what} not found"}, {"X-Error-Code": what}


def _exchange(hub: Hub, body: bytes) -> Answer:
    asked = json.loads(body)
    if asked["subject_token"] != "id of a workflow" or asked["resource"] not in hub.publishers:
        return 403, {"error": "invalid_grant"}, {}
    return 200, {"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600}, {}


def _create(hub: Hub, body: bytes) -> Answer:
    asked = json.loads(body)
    repo_id = f"{asked['organization']}/{asked['name']}"
    if repo_id in hub.repositories:
        return 409, {"error": "You already created this model repo", "url": f"{hub.endpoint}/{repo_id}"}, {}
    first = Commit("0" * 40, "initial commit", {".gitattributes": (False, _keep(hub, b"*.bin filter=lfs\n"), 17)})
    hub.repositories[repo_id] = Repository([first])
    return 200, {"url": f"{hub.endpoint}/{repo_id}", "name": repo_id}, {}


def _keep(hub: Hub, content: bytes) -> str:
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    hub.small[oid] = content
    return oid


def _info(hub: Hub, _: bytes, repo_id: str, revision: str) -> Answer:
    if repo_id not in hub.repositories:
        return _missing("RepoNotFound")
    commit = hub.repositories[repo_id].at(revision)
    return 200, {"id": repo_id, "sha": commit.oid, "siblings": [{"rfilename": path} for path in commit.tree]}, {}


def _list(hub: Hub, body: bytes) -> Answer:
    """Repositories whose card has every tag that is asked for, the newest first."""
    asked = parse_qs(body.decode())
    found = []
    for repo_id, repository in reversed(hub.repositories.items()):
        if "README.md" not in repository.head.tree:
            continue
        head = hub.content(repo_id, "README.md").decode().removeprefix("---\n").split("\n---\n")[0]
        if set(asked.get("filter", [])) <= set(yaml.safe_load(head).get("tags", [])):
            sha = {"sha": repository.head.oid} if "sha" in asked.get("expand", []) else {}
            found.append({"_id": "0" * 24, "id": repo_id, "modelId": repo_id, **sha})
    return 200, found[: int(asked.get("limit", ["1000"])[0])], {}


def _tree(hub: Hub, _: bytes, repo_id: str, revision: str) -> Answer:
    entries = []
    for path, (is_large, oid, size) in hub.repositories[repo_id].at(revision).tree.items():
        entry: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": oid[:40]}
        if is_large:
            entry["lfs"] = {"oid": oid, "size": size, "pointerSize": 130}
        entries.append(entry)
    return 200, entries, {}


def _preupload(hub: Hub, body: bytes, repo_id: str, revision: str) -> Answer:
    tree = hub.repositories[repo_id].at(revision).tree
    files = []
    for file in json.loads(body)["files"]:
        sample = base64.b64decode(file["sample"])
        is_large = b"\0" in sample or file["size"] > LARGE_BYTES
        known = tree.get(file["path"])
        files.append(
            {
                "path": file["path"],
                "uploadMode": "lfs" if is_large else "regular",
                "shouldIgnore": False,
                **({"oid": known[1]} if known else {}),
            }
        )
    return 200, {"files": files}, {}


def _batch(hub: Hub, body: bytes, repo_id: str) -> Answer:
    objects = []
    for each in json.loads(body)["objects"]:
        actions = {"upload": {"href": f"{hub.endpoint}/storage/{each['oid']}", "header": {}}}
        objects.append(each if each["oid"] in hub.large else {**each, "actions": actions})
    return 200, {"transfer": "basic", "objects": objects}, {}


def _store(hub: Hub, body: bytes, oid: str) -> Answer:
    if hashlib.sha256(body).hexdigest() != oid:
        return 400, {"error": "content does not match its oid"}, {}
    with hub.lock:
        hub.uploads[oid] += 1
        hub.large[oid] = body
    return 200, {}, {}


def _commit(hub: Hub, body: bytes, repo_id: str, revision: str) -> Answer:
    lines = [json.loads(line) for line in body.splitlines()]
    repository = hub.repositories[repo_id]
    header = lines[0]["value"]
    if header.get("parentCommit") not in (None, repository.head.oid):
        return 412, {"error": "A commit has happened since. Please refresh and try again."}, {}
    tree = dict(repository.head.tree)
    for line in lines[1:]:
        value = line["value"]
        if line["key"] == "file":
            content = base64.b64decode(value["content"])
            tree[value["path"]] = (False, _keep(hub, content), len(content))
        elif line["key"] == "lfsFile":
            if value["oid"] not in hub.large:
                return 400, {"error": f"LFS pointer {value['path']} points to a file that was not uploaded"}, {}
            tree[value["path"]] = (True, value["oid"], len(hub.large[value["oid"]]))
        elif line["key"] == "deletedFile":
            if value["path"] not in tree:
                return 404, {"error": "A file with this name doesn't exist"}, {"X-Error-Code": "EntryNotFound"}
            del tree[value["path"]]
    oid = hashlib.sha1(body + repository.head.oid.encode()).hexdigest()
    repository.commits.append(Commit(oid, header["summary"], tree))
    return 200, {"commitUrl": f"{hub.endpoint}/{repo_id}/commit/{oid}", "commitOid": oid}, {}


def _resolve(hub: Hub, _: bytes, repo_id: str, revision: str, path: str) -> Answer:
    """Both kinds of files are redirected: small ones to a cached address, large ones to storage on another origin."""
    commit = hub.repositories[repo_id].at(revision)
    if path not in commit.tree:
        return _missing("EntryNotFound")
    is_large, oid, size = commit.tree[path]
    headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{oid}"', "Accept-Ranges": "bytes"}
    if is_large:
        location = f"{hub.endpoint.replace('127.0.0.1', 'localhost')}/storage/{oid}"
        return 302, b"", {**headers, "X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(size), "Location": location}
    return 307, b"", {**headers, "Location": f"/api/resolve-cache/models/{repo_id}/{commit.oid}/{path}"}


def _cached(hub: Hub, _: bytes, repo_id: str, revision: str, path: str) -> Answer:
    commit = hub.repositories[repo_id].at(revision)
    _, oid, _ = commit.tree[path]
    return 200, hub.small[oid], {"X-Repo-Commit": commit.oid, "ETag": f'"{oid}"', "Accept-Ranges": "bytes"}


def _stored(hub: Hub, _: bytes, oid: str) -> Answer:
    return 200, hub.large[oid], {}


_REPO = r"([^/]+/[^/]+)"
ROUTES = (
    ("GET", r"/id-token", lambda hub, body: (200, {"value": "id of a workflow"}, {})),
    ("POST", r"/oauth/token", _exchange),
    ("POST", r"/api/repos/create", _create),
    ("POST", r"/api/validate-yaml", lambda hub, body: (200, {"warnings": [], "errors": []}, {})),
    ("GET", r"/api/models$", _list),
    ("GET", rf"/api/models/{_REPO}", lambda hub, body, repo_id: _info(hub, body, repo_id, "main")),
    ("GET", rf"/api/models/{_REPO}/revision/(.+)", _info),
    ("GET", rf"/api/models/{_REPO}/tree/([^/]+)/?", _tree),
    ("POST", rf"/api/models/{_REPO}/preupload/(.+)", _preupload),
    ("POST", rf"/api/models/{_REPO}/commit/(.+)", _commit),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", _batch),
    ("PUT", r"/storage/([0-9a-f]{64})", _store),
    ("GET|HEAD", r"/storage/([0-9a-f]{64})", _stored),
    ("GET|HEAD", rf"/{_REPO}/resolve/([^/]+)/(.+)", _resolve),
    ("GET", rf"/api/datasets/{_REPO}/revision/(.+)", _info),
    ("GET", rf"/api/datasets/{_REPO}/tree/([^/]+)/?", _tree),
    ("GET|HEAD", rf"/datasets/{_REPO}/resolve/([^/]+)/(.+)", _resolve),
    ("GET|HEAD", rf"/api/resolve-cache/models/{_REPO}/([^/]+)/(.+)", _cached),
)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub on a free port, until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=[POLL_S], daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
