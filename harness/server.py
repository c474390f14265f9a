"""A static file server for browser tests."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

# How often a server looks whether it should stop; the standard library waits half a second.
POLL_S = 0.01


@contextmanager
def serve(roots: Mapping[str, Path]) -> Iterator[str]:
    """Serves folders under URL prefixes on a free port of localhost.

    Args:
        roots: Folder by prefix, e.g. ``{"/files": folder}``; ``"/"`` is allowed. The longest prefix wins.

    Yields:
        The origin, e.g. ``http://localhost:40001``.
    """
    prefixes = sorted(roots, key=len, reverse=True)

    class Handler(SimpleHTTPRequestHandler):
        extensions_map: ClassVar[dict[str, str]] = {
            **SimpleHTTPRequestHandler.extensions_map,
            ".wasm": "application/wasm",
            ".js": "text/javascript",
            ".mjs": "text/javascript",
        }

        def translate_path(self, path: str) -> str:
            for prefix in prefixes:
                if path == prefix or path.startswith(prefix.rstrip("/") + "/"):
                    self.directory = str(roots[prefix])
                    return super().translate_path(path.removeprefix(prefix.rstrip("/")))
            return "/nonexistent"

        def end_headers(self) -> None:
            self.send_header("Cache-Control", "no-store")
            super().end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("localhost", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[POLL_S], daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
