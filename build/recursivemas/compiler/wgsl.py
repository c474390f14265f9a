"""Compiling shaders with Dawn, Chrome's WebGPU: no GPU, float16 included (web/tools/wgsl.mjs, so in a checkout)."""

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from recursivemas.compiler.shaders import Shader
from recursivemas.system.errors import InputError

_WEB = Path(__file__).parents[3] / "web"


def has_dawn() -> bool:
    """Whether this is a checkout with its npm packages, and Node."""
    return (_WEB / "node_modules/webgpu").is_dir() and shutil.which("node") is not None


def refused_by_dawn(shaders: Iterable[Shader]) -> dict[str, str]:
    """What Dawn says of each shader that it refuses, by name.

    Raises:
        InputError: There is no Dawn here.
    """
    if not has_dawn():
        raise InputError(f"{_WEB}: no Dawn to compile WGSL with; run: make setup")
    sources = json.dumps({shader.name: shader.source for shader in shaders})
    command = ["node", "tools/wgsl.mjs"]
    done = subprocess.run(command, cwd=_WEB, input=sources, capture_output=True, text=True, check=True)
    problems: dict[str, str] = json.loads(done.stdout)
    return problems
