"""Static hosts of different habits, on free ports of this machine."""

import re
import subprocess
import sys
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from harness.server import POLL_S

TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
}
ENCODINGS = {"br": ".br", "gzip": ".gz"}


@dataclass
class Habits:
    """How a host answers.

    Attributes:
        cors: Whether other origins may read.
        ranges: Whether it answers byte ranges.
        precompressed: Whether it serves `<file>.br` or `<file>.gz` in a file's place, to who accepts it.
        cut: Paths whose first answer breaks off in the middle, once the page has read some of it.
        was_read: By path, set when a page tells so (`harness.engine_page.TELL_WHAT_IS_READ`).
        seen: (path, status, content encoding) of every answer.
    """

    cors: bool = True
    ranges: bool = False
    precompressed: bool = False
    cut: set[str] = field(default_factory=set)
    was_read: defaultdict[str, threading.Event] = field(default_factory=lambda: defaultdict(threading.Event))
    seen: list[tuple[str, int, str]] = field(default_factory=list)


@contextmanager
def static_host(root: Path, habits: Habits) -> Iterator[str]:
    """Serves a folder; yields the origin."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.endswith(".read"):
                habits.was_read[path.removesuffix(".read")].set()
            file = root / path.lstrip("/")
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file():
                self._answer(path, 404, b"", {})
                return
            headers = {"Content-Type": TYPES.get(file.suffix, "application/octet-stream")}
            content, status = file.read_bytes(), 200
            accepted = self.headers.get("Accept-Encoding", "")
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if habits.ranges and asked:
                start = int(asked.group(1))
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                content, status = content[start:], 206
            elif habits.precompressed:
                for name, suffix in ENCODINGS.items():
                    smaller = file.with_name(file.name + suffix)
                    if name in accepted and smaller.is_file():
                        content, headers["Content-Encoding"] = smaller.read_bytes(), name
                        break
            self._answer(path, status, content, headers)

        def _answer(self, path: str, status: int, content: bytes, headers: dict[str, str]) -> None:
            habits.seen.append((path, status, headers.get("Content-Encoding", "")))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if habits.cors:
                self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if any(path.endswith(end) for end in habits.cut):
                habits.cut = {end for end in habits.cut if not path.endswith(end)}
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                # A browser drops what the page has not read when the connection breaks.
                habits.was_read[path].wait()
                self.close_connection = True
                self.connection.shutdown(2)
                return
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=[POLL_S], daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def python_http_server(root: Path) -> Iterator[str]:
    """`python -m http.server`, the plainest of all: no ranges, no CORS; yields the origin."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        match = re.search(r"port (\d+)", process.stdout.readline())
        assert match is not None
        origin = f"http://127.0.0.1:{match.group(1)}"
        # It listens before it prints its port, so this waits for the answer, however long that takes.
        urllib.request.urlopen(f"{origin}/").close()
        yield origin
    finally:
        process.terminate()
        process.wait()
