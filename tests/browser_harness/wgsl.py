"""Compiling WGSL as Chrome does, without a GPU; float16 too, which Chromium's software adapter does not have."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from recursivemas.build.shaders import Shader

WEB = Path(__file__).parents[2] / "web"


def wgsl_problems(shaders: Sequence[Shader]) -> dict[str, str]:
    """What Dawn refuses, by shader; web/tools/wgsl.mjs says how it is asked."""
    sources = json.dumps({shader.name: shader.source for shader in shaders})
    command = ["node", "tools/wgsl.mjs"]
    done = subprocess.run(command, cwd=WEB, input=sources, capture_output=True, text=True, check=True)
    problems: dict[str, str] = json.loads(done.stdout)
    return problems
