"""Stand-ins for PyPI, npm and GitHub's proof of identity, on this machine; they keep what they were asked."""

import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request: its method, its path without what follows a question mark, its authorization and its body."""

    method: str
    path: str
    authorization: str
    body: bytes


class Registry(http.server.ThreadingHTTPServer):
    """Answers every request, with an empty object where it was given no other answer for the path."""

    def __init__(self, answers: Mapping[str, dict[str, Any]], certificates: Path | None = None) -> None:
        """Listens on a free port.

        Args:
            answers: The JSON object for each path.
            certificates: A folder for a key and a certificate; then the stand-in speaks TLS.
        """
        super().__init__(("127.0.0.1", 0), _Answers)
        self.answers = answers
        self.asked: list[Asked] = []
        self.certificate: Path | None = None
        if certificates is not None:
            key, self.certificate = certificates / "key.pem", certificates / "certificate.pem"
            subprocess.run(
                [
                    *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                    *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
                    *("-addext", "basicConstraints=critical,CA:FALSE"),
                    *("-keyout", str(key), "-out", str(self.certificate)),
                ],
                check=True,
                capture_output=True,
            )
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, key)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.server_port}"

    def identity(self) -> dict[str, str]:
        """The variables with which GitHub tells a job where to ask for a proof of its identity, here at `/identity`."""
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/identity?version=2",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-job",
            "GITHUB_ACTIONS": "true",
            "NO_PROXY": "*",
            "no_proxy": "*",
        }


class _Answers(http.server.BaseHTTPRequestHandler):
    def _answer(self) -> None:
        assert isinstance(self.server, Registry)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0]
        self.server.asked.append(Asked(self.command, path, self.headers.get("authorization") or "", body))
        data = json.dumps(self.server.answers.get(path, {})).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the names of http.server

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serving(registry: Registry) -> Iterator[Registry]:
    """Runs a stand-in until the block ends."""
    thread = threading.Thread(target=registry.serve_forever)
    thread.start()
    try:
        yield registry
    finally:
        registry.shutdown()
        thread.join()
        registry.server_close()
