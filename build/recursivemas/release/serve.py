"""The ASGI application behind `rmas serve`: the page at `/`, systems under `/systems/`.

It is as strict as the strictest host (docs/hosting.md): it sends a content security policy and exact media types,
serves only files that a system's manifest lists, compresses if the browser accepts that, and makes the browser
revalidate every answer. Like the Hub, it redirects `…/resolve/<revision>/…`, because WebLLM asks for agents there.

It answers requests for this machine's own names only, and lets only pages from this machine read systems, so that no
website can read what someone serves for themselves.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from recursivemas.release.precompress import ENCODINGS, compressible, ready, zipped
from recursivemas.release.release_folder import INDEX, MANIFEST
from recursivemas.release.site import check_page, find_systems, systems_index
from recursivemas.system.errors import InputError
from recursivemas.system.manifest import Manifest, load_manifest
from recursivemas.system.progress import Say, silent

# The page's meta tag has the same policy; the header also covers workers and error pages.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self'; "
    "img-src 'self' data: blob:; font-src 'self'; connect-src 'self' https: http://localhost:* http://127.0.0.1:*; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_RESOLVE = re.compile(r"(/systems/.*?)/resolve/[^/]+/")
_HOSTS = ("localhost", "127.0.0.1")
_LOCAL_ORIGIN = re.compile(rf"https?://({'|'.join(map(re.escape, _HOSTS))})(:\d+)?")


class CompressedFiles(StaticFiles):
    """Static files, compressed if the client accepts that and asks for the whole file.

    The forms that `rmas site` writes beside a file are used, brotli first; without them a file is zipped here.
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answers one request."""
        if any(part.startswith(".") and part != "." for part in Path(path).parts):
            raise HTTPException(404, "files whose names begin with a dot are not served")
        response = await super().get_response(path, scope)
        full_path, stat = self.lookup_path(path)
        if response.status_code != 200 or stat is None or not compressible(Path(full_path)):
            return response
        asked = Headers(scope=scope)
        response.headers["Vary"] = "Accept-Encoding"
        accepted = asked.get("accept-encoding", "")
        if "range" in asked or scope["method"] == "HEAD":
            return response
        for encoding in ENCODINGS:
            if encoding not in _accepted(accepted):
                continue
            content = ready(Path(full_path), encoding)
            if content is None and encoding == "gzip":
                content = zipped(Path(full_path), stat.st_mtime_ns)
            if content is not None:
                headers = {
                    "Content-Encoding": encoding,
                    "ETag": response.headers["etag"].rstrip('"') + f'-{encoding}"',
                    "Vary": "Accept-Encoding",
                }
                if asked.get("if-none-match") == headers["ETag"]:
                    return Response(status_code=304, headers=headers)
                return Response(content, media_type=response.headers["content-type"], headers=headers)
        return response


def _accepted(header: str) -> set[str]:
    """The encodings that a client accepts; `q=0` refuses one."""
    parts = (part.replace(" ", "").lower().partition(";") for part in header.split(","))
    return {name for name, _, weight in parts if not re.fullmatch(r"q=0(\.0*)?", weight)}


class SystemFiles(CompressedFiles):
    """The files of a built system that its manifest lists, which are those that publishing uploads."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder)
        self._folder = folder

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answers one request. It reads the manifest every time, so that a rebuilt system is served at once."""
        if Path(path).as_posix() not in {MANIFEST, *self._listed()}:
            raise HTTPException(404, f"not listed in {MANIFEST}")
        return await super().get_response(path, scope)

    def _listed(self) -> set[str]:
        """The files in the manifest; none, if it cannot be read. The page then says what is wrong with it."""
        try:
            return {file.path for file in load_manifest(self._folder / MANIFEST).files}
        except InputError:
            return set()


async def _headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    path = request.url.path
    if _RESOLVE.match(path):
        response: Response = RedirectResponse(_RESOLVE.sub(r"\1/", path, count=1), status_code=302)
    else:
        response = await call_next(request)
    response.headers["Cache-Control"] = "no-cache"  # browsers revalidate by entity tag and see a rebuilt system at once
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    if path.startswith("/systems/"):
        response.headers["Vary"] = ", ".join(filter(None, [response.headers.get("Vary"), "Origin"]))
        if _LOCAL_ORIGIN.fullmatch(origin := request.headers.get("origin", "")):
            response.headers["Access-Control-Allow-Origin"] = origin
    else:
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


def site_app(page: Path, folder: Path, say: Say = silent) -> Starlette:
    """The application. A system whose manifest cannot be read is left out.

    Args:
        page: The built page.
        folder: A built system, a folder of them, or a site.
        say: Called with one line for each system that is left out.

    Raises:
        InputError: The page is not built, or there is no system whose manifest can be read.
    """
    check_page(page)
    folders = find_systems(folder)
    found = _readable(folders, say)
    if not found:
        load_manifest(folders[0] / MANIFEST)  # raises
    systems: list[BaseRoute] = [Mount(f"/{manifest.name}", SystemFiles(each)) for each, manifest in found.items()]

    def index(_: Request) -> Response:
        return JSONResponse(systems_index(list(_readable(folders))).model_dump())

    routes: list[BaseRoute] = [
        Mount("/systems", routes=[Route(f"/{INDEX}", index), *systems]),
        Mount("/", CompressedFiles(directory=page, html=True)),
    ]
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=list(_HOSTS), www_redirect=False)
    return Starlette(routes=routes, middleware=[trusted, Middleware(BaseHTTPMiddleware, dispatch=_headers)])


def _readable(folders: Sequence[Path], say: Say = silent) -> dict[Path, Manifest]:
    """The systems whose manifests can be read."""
    manifests = {}
    for folder in folders:
        try:
            manifests[folder] = load_manifest(folder / MANIFEST)
        except InputError as error:
            say(f"left out: {error}")
    return manifests
