"""`rmas serve` is as strict as the strictest host."""

import gzip
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import brotli
import pytest
from starlette.testclient import TestClient

from recursivemas.release.precompress import precompress
from recursivemas.release.serve import site_app
from recursivemas.release.site import assemble_site

from .made_system import make_system

WASM = "agents/critic/critic-q4f32_1-webgpu.wasm"
SHARD = "agents/critic/params_shard_0.bin"


@pytest.fixture
def system(tmp_path: Path) -> Path:
    return make_system(tmp_path / "dist" / "walk")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>page</title>")
    (folder / "assets/a.js").write_text("export const a = 1;\n" * 100)
    return folder


@pytest.fixture
def client(page: Path, system: Path) -> Iterator[TestClient]:
    with TestClient(site_app(page, system.parent), "http://127.0.0.1", follow_redirects=False) as running:
        yield running


def test_types_are_exact_and_not_sniffed(client: TestClient) -> None:
    for path, kind in (
        ("/", "text/html"),
        ("/assets/a.js", "text/javascript"),
        ("/systems/index.json", "application/json"),
        ("/systems/walk/system.json", "application/json"),
        (f"/systems/walk/{WASM}", "application/wasm"),
        (f"/systems/walk/{SHARD}", "application/octet-stream"),
    ):
        response = client.get(path)
        assert response.status_code == 200, path
        assert response.headers["content-type"].split(";")[0] == kind
        assert response.headers["x-content-type-options"] == "nosniff"


def test_page_has_a_policy_and_artifacts_are_open_to_pages_of_this_machine_only(client: TestClient) -> None:
    assert "default-src 'none'" in client.get("/").headers["content-security-policy"]
    local = {"Origin": "http://localhost:5173"}
    assert "access-control-allow-origin" not in client.get("/", headers=local).headers
    answer = client.get("/systems/walk/system.json", headers=local)
    assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"
    assert "Origin" in answer.headers["vary"]
    for origin in ("https://example.org", "http://localhost.example.org", "http://127.0.0.1:80@example.org", "null"):
        answer = client.get("/systems/walk/system.json", headers={"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers


def test_requests_for_another_host_are_refused(client: TestClient) -> None:
    assert client.get("/systems/walk/system.json", headers={"Host": "example.org"}).status_code == 400
    assert client.get("/systems/walk/system.json", headers={"Host": "localhost:8080"}).status_code == 200


@pytest.mark.parametrize("path", ["//example.org/systems/x/resolve/main/y", "/systems//example.org/resolve/main/y"])
def test_no_redirect_leaves_this_machine(client: TestClient, path: str) -> None:
    answer = client.get(f"http://127.0.0.1{path}")
    assert re.fullmatch(r"(/systems/.*)?", answer.headers.get("location", ""))


def test_files_with_a_dot_are_not_served(client: TestClient, page: Path) -> None:
    (page / ".env").write_text("secret")
    (page / ".git").mkdir()
    (page / ".git/config").write_text("secret")
    assert client.get("/.env").status_code == 404
    assert client.get("/.git/config").status_code == 404


def test_broken_system_is_left_out_and_the_others_are_served(page: Path, system: Path) -> None:
    (system.parent / "broken").mkdir()
    (system.parent / "broken/system.json").write_text("{")
    said: list[str] = []
    with TestClient(site_app(page, system.parent, said.append), "http://127.0.0.1") as client:
        assert client.get("/systems/walk/system.json").status_code == 200
        assert [each["name"] for each in client.get("/systems/index.json").json()["systems"]] == ["walk"]
        (system / "system.json").write_text("")
        assert client.get("/systems/walk/system.json").status_code == 200  # the page says what is wrong with it
        assert client.get(f"/systems/walk/{SHARD}").status_code == 404
        assert client.get("/systems/index.json").json()["systems"] == []
    assert len(said) == 1 and "broken/system.json" in said[0]


def test_file_that_the_manifest_does_not_list_is_not_there(client: TestClient, system: Path) -> None:
    (system / "agents/critic/notes.txt").write_text("x")
    assert client.get("/systems/walk/agents/critic/notes.txt").status_code == 404
    assert client.get("/systems/walk/../walk/.env").status_code == 404


def test_library_is_compressed_for_who_takes_it(client: TestClient, system: Path) -> None:
    path = f"/systems/walk/{WASM}"
    response = client.get(path, headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert response.content == (system / WASM).read_bytes()
    assert "Accept-Encoding" in response.headers["vary"]
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == response.content
    assert plain.headers["etag"] != response.headers["etag"]
    again = client.get(path, headers={"Accept-Encoding": "gzip", "If-None-Match": response.headers["etag"]})
    assert again.status_code == 304
    assert "content-encoding" not in client.get(path, headers={"Accept-Encoding": "gzip;q=0, br"}).headers


def test_ready_forms_are_served_until_their_file_is_written_again(page: Path, system: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    assemble_site(page, [system], site, encodings=["br", "gzip"])
    script, whole = site / "assets/a.js", (page / "assets/a.js").read_bytes()
    with TestClient(site_app(site, site), "http://127.0.0.1") as client:
        for asked, got in (("gzip, deflate, br", "br"), ("br;q=0, gzip", "gzip"), ("identity", None)):
            for path, content in (("/assets/a.js", whole), (f"/systems/walk/{WASM}", (system / WASM).read_bytes())):
                response = client.get(path, headers={"Accept-Encoding": asked})
                assert (response.headers.get("content-encoding"), response.content) == (got, content)
        (site / "assets/a.js.br").write_bytes(brotli.compress(b"export const a = 2;\n"))
        assert client.get("/assets/a.js", headers={"Accept-Encoding": "br"}).text == "export const a = 2;\n"
        script.write_text("export const a = 3;\n")
        later = (site / "assets/a.js.br").stat().st_mtime_ns + 10**9
        os.utime(script, ns=(later, later))
        assert client.get("/assets/a.js", headers={"Accept-Encoding": "br"}).text == "export const a = 3;\n"


def test_compressed_form_is_of_the_file_as_it_is_now(client: TestClient, page: Path) -> None:
    client.get("/assets/a.js")
    (page / "assets/a.js").write_text("export const b = 2;\n")
    assert client.get("/assets/a.js").text == "export const b = 2;\n"


def test_weights_are_not_compressed_and_come_in_ranges(client: TestClient, system: Path) -> None:
    whole = (system / SHARD).read_bytes()
    response = client.get(f"/systems/walk/{SHARD}", headers={"Accept-Encoding": "gzip", "Range": "bytes=1000-"})
    assert response.status_code == 206
    assert response.content == whole[1000:]
    assert "content-encoding" not in client.get(f"/systems/walk/{SHARD}").headers


def test_range_of_what_compresses_is_of_the_file_itself(client: TestClient, system: Path) -> None:
    headers = {"Accept-Encoding": "gzip", "Range": "bytes=10-"}
    response = client.get(f"/systems/walk/{WASM}", headers=headers)
    assert (response.status_code, response.content) == (206, (system / WASM).read_bytes()[10:])


@pytest.mark.parametrize("before", ["", "agents/critic/"])
def test_resolve_addresses_redirect_like_the_hub(client: TestClient, before: str) -> None:
    name = "system.json" if not before else "mlc-chat-config.json"
    response = client.get(f"/systems/walk/{before}resolve/main/{name}", headers={"Origin": "http://127.0.0.1:1"})
    assert response.status_code == 302
    assert response.headers["access-control-allow-origin"] == "http://127.0.0.1:1"
    assert client.get(response.headers["location"]).status_code == 200


@pytest.mark.parametrize(
    ("encoding", "suffix", "opened"), [("gzip", ".gz", gzip.decompress), ("br", ".br", brotli.decompress)]
)
def test_site_with_an_encoding_has_every_compressed_form(
    page: Path, system: Path, tmp_path: Path, encoding: str, suffix: str, opened: Callable[[bytes], bytes]
) -> None:
    site = tmp_path / "site"
    said: list[str] = []
    assemble_site(page, [system], site, encodings=[encoding], say=said.append)
    assert len(said) == 3 and said[0] == f"compressing systems/walk/{WASM}"
    compressed = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.suffix in (".gz", ".br")}
    assert {f"systems/walk/{WASM}{suffix}", f"assets/a.js{suffix}", f"systems/walk/system.json{suffix}"} <= compressed
    assert {Path(each).suffix for each in compressed} == {suffix}
    assert f"systems/walk/{SHARD}{suffix}" not in compressed
    file = site / "systems/walk" / WASM
    assert opened(file.with_name(file.name + suffix).read_bytes()) == file.read_bytes()
    first = {path: path.read_bytes() for path in precompress(page)}
    assert {path: path.read_bytes() for path in precompress(page) if path in first} == first


def test_site_keeps_the_users_own_files(page: Path, system: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    assemble_site(page, [system], site, encodings=["gzip", "br"])
    (site / "CNAME").write_text("example.org")
    (site / ".git").mkdir()
    (site / ".git/HEAD").write_text("ref")
    (site / "systems/walk/old.bin").write_text("of an earlier build")
    assemble_site(page, [system], site)
    assert (site / "CNAME").read_text() == "example.org" and (site / ".git/HEAD").read_text() == "ref"
    assert not (site / "index.html.gz").exists() and not (site / "index.html.br").exists()
    assert not (site / "systems/walk/old.bin").exists()


def serve_command(*places: object, port: int = 0) -> list[str]:
    """`rmas serve` as people start it."""
    return [sys.executable, "-m", "recursivemas.cli.app", "serve", *map(str, places), "--port", str(port)]


@contextmanager
def serving(*places: object, **options: Any) -> Iterator[str]:
    """The address that `rmas serve` tells; afterwards it is stopped from the keyboard and must end quietly."""
    process = subprocess.Popen(
        serve_command(*places), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    assert process.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
    try:
        assert found is not None
        yield found.group()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=600)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode in (0, 130)
    assert "Traceback" not in told


def fetched(address: str) -> bytes:
    with urllib.request.urlopen(address) as response:
        content: bytes = response.read()
    return content


def test_command_serves_on_a_free_port_until_it_is_stopped(page: Path, system: Path) -> None:
    with serving(system.parent, "--page", page) as address:
        assert fetched(f"{address}systems/walk/{SHARD}") == (system / SHARD).read_bytes()


def test_command_serves_a_site_with_its_own_page(page: Path, system: Path, tmp_path: Path) -> None:
    assemble_site(page, [system], tmp_path / "site", encodings=["gzip"])
    (tmp_path / "elsewhere").mkdir()
    with serving(tmp_path / "site", cwd=tmp_path / "elsewhere") as address:
        assert fetched(address) == (page / "index.html").read_bytes()
        assert b'"walk/system.json"' in fetched(f"{address}systems/index.json")
        assert fetched(f"{address}systems/walk/{SHARD}") == (system / SHARD).read_bytes()


def test_command_on_a_port_that_is_taken_says_how_to_choose_another(page: Path, system: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = subprocess.run(serve_command(system.parent, "--page", page, port=port), capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith(f"rmas: port {port} on 127.0.0.1 cannot be used")
    assert "make playground PORT=" in result.stderr and result.stderr.count("\n") == 1
