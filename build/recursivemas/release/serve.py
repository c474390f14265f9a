"""The ASGI application behind `rmas serve`: the page at `/`, systems under `/systems/`.

It is as strict as the strictest host (docs/hosting.md): it sends a content security policy and exact media types,
serves only files that a system's manifest lists, compresses if the browser accepts gzip, and makes the browser
revalidate every answer. Like the Hub, it redirects `…/resolve/<revision>/…`, because WebLLM asks for agents there.
"""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from recursivemas.release.precompress import compressed, compressible
from recursivemas.release.release_folder import INDEX, MANIFEST
from recursivemas.release.site import check_page, find_systems, systems_index
from recursivemas.system.manifest import load_manifest

# The page's meta tag has the same policy; the header also covers workers and error pages.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self'; "
    "img-src 'self' data: blob:; font-src 'self'; connect-src 'self' https: http://localhost:* http://127.0.0.1:*; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_RESOLVE = re.compile(r"/resolve/[^/]+/")


class CompressedFiles(StaticFiles):
    """Static files, compressed if the client accepts gzip and asks for the whole file."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answers one request."""
        response = await super().get_response(path, scope)
        full_path, stat = self.lookup_path(path)
        if response.status_code != 200 or stat is None or not compressible(Path(full_path)):
            return response
        asked = Headers(scope=scope)
        response.headers["Vary"] = "Accept-Encoding"
        if "gzip" not in asked.get("accept-encoding", "") or "range" in asked or scope["method"] == "HEAD":
            return response
        headers = {
            "Content-Encoding": "gzip",
            "ETag": response.headers["etag"].rstrip('"') + '-gz"',
            "Vary": "Accept-Encoding",
        }
        if asked.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        content = compressed(Path(full_path), stat.st_mtime_ns)
        return Response(content, media_type=response.headers["content-type"], headers=headers)


class SystemFiles(CompressedFiles):
    """The files of a built system that its manifest lists, which are those that publishing uploads."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder)
        self._folder = folder

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answers one request. It reads the manifest every time, so that a rebuilt system is served at once."""
        name = Path(path).as_posix()
        if name != MANIFEST and name not in {file.path for file in load_manifest(self._folder / MANIFEST).files}:
            raise HTTPException(404, f"not listed in {MANIFEST}")
        return await super().get_response(path, scope)


async def _headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    path = request.url.path
    if "/systems/" in path and _RESOLVE.search(path):
        response: Response = RedirectResponse(_RESOLVE.sub("/", path, count=1), status_code=302)
    else:
        response = await call_next(request)
    response.headers["Cache-Control"] = "no-cache"  # browsers revalidate by entity tag and see a rebuilt system at once
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    if "/systems/" in path:
        response.headers["Access-Control-Allow-Origin"] = "*"
    else:
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


def site_app(page: Path, folder: Path) -> Starlette:
    """The application.

    Args:
        page: The built page.
        folder: A built system, a folder of them, or a site.

    Raises:
        InputError: The page or a system is not built.
    """
    check_page(page)
    folders = find_systems(folder)
    systems: list[BaseRoute] = [Mount(f"/{load_manifest(each / MANIFEST).name}", SystemFiles(each)) for each in folders]

    def index(_: Request) -> Response:
        return JSONResponse(systems_index(folders).model_dump())

    routes: list[BaseRoute] = [
        Mount("/systems", routes=[Route(f"/{INDEX}", index), *systems]),
        Mount("/", CompressedFiles(directory=page, html=True)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=_headers)])
