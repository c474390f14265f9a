"""Compiles shaders with Dawn, Chrome's WebGPU: without a GPU, float16 included.

Only a checkout can do that, because it needs web/tools/wgsl.mjs and npm packages.
"""

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from recursivemas.compiler.shaders import Shader, beyond_promised
from recursivemas.system.errors import InputError

_WEB = Path(__file__).parents[3] / "web"


def has_dawn() -> bool:
    """Whether this is a checkout with its npm packages, and Node is installed."""
    return (_WEB / "node_modules/webgpu").is_dir() and shutil.which("node") is not None


def refused_by_dawn(shaders: Iterable[Shader]) -> dict[str, str]:
    """Dawn's message for each shader that it refuses, by the shader's name.

    Raises:
        InputError: Dawn is not installed.
    """
    if not has_dawn():
        raise InputError(f"{_WEB}: Dawn, which compiles WGSL, is missing; run: make setup")
    sources = json.dumps(
        {shader.name: {"code": shader.source, "beyondPromised": bool(beyond_promised([shader]))} for shader in shaders}
    )
    command = ["node", "tools/wgsl.mjs"]
    done = subprocess.run(command, cwd=_WEB, input=sources, capture_output=True, text=True, check=True)
    problems: dict[str, str] = json.loads(done.stdout)
    return problems
