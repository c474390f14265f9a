"""Whether a program passes its tests, in the limited process: by the authors' rules, and by ours.

The authors take the first block of Python in an answer, put star imports of the standard library above it, and believe
the exit status: a program that ends before its tests passes, and a function that prints does not. We take the last
block, or an answer that is a program as it stands, add nothing, and believe a word that is printed after the tests.
"""

import ast
import json
import re
import secrets
from decimal import Decimal, InvalidOperation
from typing import Literal, TypeAlias

from recursivemas.system.completeness import code_block
from recursivemas.training.evaluation.code_process import CodeRun, Limits, run_code
from recursivemas.training.evaluation.released_sets import CodeTests

Rules: TypeAlias = Literal["released", "ours"]

MEMORY_BYTES = 4 << 30
OUTPUT_BYTES = 16 << 20
_NAMED = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json"),
)
PREFACE = "\n".join(
    [
        *(f"from {module} import *" for module in (*_NAMED, "builtins", "typing")),
        *(f"import {module}" for module in _NAMED),
        "sys.setrecursionlimit(50000)",
    ]
)
_BLOCK = re.compile(r"```(?:python3?|py)?[ \t]*\n(.*?)```", re.IGNORECASE | re.DOTALL)
_OPEN_BLOCK = re.compile(r"```(?:python3?|py)?[ \t]*\n(.*)\Z", re.IGNORECASE | re.DOTALL)
_THOUGHT = re.compile(r"<think>.*?</think>", re.IGNORECASE | re.DOTALL)
# Calls a function once for each test, then prints a word. What the function prints goes elsewhere, unless it counts.
_CALLS = """
import json as _json, os as _os, sys as _sys, types as _types
_kept = _os.dup(1)
_asked = _json.loads(_sys.stdin.readline())
if not _asked["prints_count"]:
    _os.dup2(2, 1)
_module = _types.ModuleType("candidate")
exec(compile(_asked["code"], "candidate", "exec"), _module.__dict__)
_owner = _module.Solution() if "class Solution" in _asked["code"] and hasattr(_module, "Solution") else _module
_function = getattr(_owner, _asked["function"])
for _given, _wanted in zip(_asked["inputs"], _asked["outputs"]):
    _result = _function(*[_json.loads(line) for line in _given.split("\\n") if line.strip()])
    if isinstance(_result, tuple):
        _result = list(_result)
    if _result != _json.loads(_wanted):
        _os._exit(1)
_sys.stdout.flush()
_os.write(_kept, _asked["word"].encode())
_os._exit(0)
"""


def program_in(answer: str, rules: Rules) -> str:
    """The program in an answer; empty if there is none."""
    if rules == "released":
        return code_block(answer)
    text = _THOUGHT.sub("", answer)
    if blocks := _BLOCK.findall(text) or _OPEN_BLOCK.findall(text):
        return str(blocks[-1]).strip()
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return text.strip()


def passes(answer: str, tests: CodeTests, rules: Rules, wall_s: float) -> bool:
    """Whether the program in an answer passes every test.

    Call `require_limits` once before. An answer without a program passes nothing.

    Args:
        answer: What the system wrote.
        tests: What the program has to pass.
        rules: The authors' or ours.
        wall_s: Seconds for a script or for an input.
    """
    code = program_in(answer, rules)
    if not code:
        return False
    preface = f"{PREFACE}\n\n" if rules == "released" else ""
    if tests.kind == "script":
        return _passes_script(preface, code, tests.script, rules, wall_s)
    if tests.kind == "calls":
        return _passes_calls(preface + code, tests, rules, wall_s)
    return all(
        _ended_well(done := _run(code, given, wall_s)) and same_output(done.stdout, wanted)
        for given, wanted in zip(tests.inputs, tests.outputs, strict=True)
    )


def _passes_script(preface: str, code: str, script: str, rules: Rules, wall_s: float) -> bool:
    program = f"{preface}{code}\n\n{script}\n"
    if rules == "released":
        return _ended_well(_run(program, "", wall_s))
    word = secrets.token_hex()
    done = _run(f"{program}\nprint({word!r})\n", "", wall_s)
    return _ended_well(done) and word in done.stdout


def _passes_calls(code: str, tests: CodeTests, rules: Rules, wall_s: float) -> bool:
    word = secrets.token_hex()
    asked: dict[str, object] = {
        "code": code,
        "function": tests.function,
        "inputs": tests.inputs,
        "outputs": tests.outputs,
        "word": word,
    }
    asked |= {"prints_count": rules == "released"}
    # As long as all inputs together may take: the authors' limit holds for each call, ours for their sum.
    done = _run(_CALLS, json.dumps(asked) + "\n", wall_s * len(tests.inputs) + 5)
    return _ended_well(done) and done.stdout.strip() == word


def _run(code: str, stdin: str, wall_s: float) -> CodeRun:
    limits = Limits(wall_s=wall_s, cpu_s=int(wall_s) + 1, memory_bytes=MEMORY_BYTES, output_bytes=OUTPUT_BYTES)
    return run_code(code, stdin, limits)


def _ended_well(done: CodeRun) -> bool:
    return done.exit_code == 0


def same_output(printed: str, wanted: str) -> bool:
    """Whether two outputs agree line by line, as text without outer white space or as equal numbers."""
    lines, others = ([line.strip() for line in text.strip().split("\n")] for text in (printed, wanted))
    return len(lines) == len(others) and all(
        line == other or ((numbers := _numbers(line)) is not None and numbers == _numbers(other))
        for line, other in zip(lines, others, strict=True)
    )


def _numbers(line: str) -> list[Decimal] | None:
    try:
        return [Decimal(word) for word in line.split()]
    except InvalidOperation:
        return None
