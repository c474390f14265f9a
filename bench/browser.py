"""Measures the default system in headless Chromium: the cost of a latent step, and the cost of a visit.

Counts (synchronisations, bytes read back, dispatches) are made where the GPU is called, and hold on any machine. Times
hold for this machine and for SwiftShader, WebGPU on the CPU, where reading back costs almost nothing: compare them only
with each other. The recursiveMASWebLLM playground runs its links in JavaScript and reads back at every step. The
benchmark alternates both ways within one run; `web/test/harness/host-links.ts` is the one in JavaScript.
"""

import importlib.metadata
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect
from rich.console import Console
from rich.table import Table

from harness.chromium import launch
from harness.engine_page import EnginePage, build_harness, open_page, serving
from harness.playground import Playground, open_playground, script_bytes
from recursivemas.system.errors import InputError
from recursivemas.system.files import write_text_atomic

EVIDENCE = Path("docs/evidence/bench-browser.json")
PAGE, SYSTEMS = Path("web/dist"), Path("dist")
SYSTEM = "systems/hop-sequential/system.json"
FEW, MANY = 2, 18  # latent steps a turn; the difference of their times is the time of the steps alone
REPEATS = 5
RUNS = 20
MEASURED = 3  # questions of a Measure that are waited for
TABLES = {
    "steps": "a latent step (3 agents, rounds = 1)",
    "tokens": "a decoded token",
    "visits": "visits",
    "page": "the page",
    "memory": f"{RUNS} runs",
}

LONG_TASKS = """
() => {
  window.longTasks = [];
  new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map((each) => each.duration)))
    .observe({ type: "longtask" });
}
"""


def main() -> None:
    """Prints the tables and writes `docs/evidence/bench-browser.json`."""
    console = Console()
    if not (PAGE / "index.html").exists() or not (SYSTEMS / "hop-sequential/system.json").exists():
        raise InputError("the page or the default system is not built; run 'make page systems' first")
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch, launch() as browser:
        with serving(build_harness(Path(scratch, "harness")), SYSTEMS) as url, open_page(browser, url) as engine:
            loaded = engine.load(SYSTEM)
            question = loaded["questions"][0]["question"]
            results["steps"] = latent_steps(engine, question)
            results["tokens"] = decoded_tokens(engine, question)
            gpu_memory = gpu_bytes(engine, question)
        results["visits"], results["page"], heap = visits(browser)
        results["memory"] = gpu_memory | heap
    for key, title in TABLES.items():
        show(console, title, results[key])
    if loaded["device"]["architecture"] == "swiftshader":
        console.print("Times are of WebGPU on the CPU, where waiting for the 'GPU' is free; the counts hold anywhere.")
    report = {
        "command": "python -m bench browser",
        "versions": {name: importlib.metadata.version(name) for name in ("recursivemas", "apache-tvm", "playwright")},
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "device": loaded["device"],
        "load_average_at_the_end": os.getloadavg(),
        "results": results,
    }
    write_text_atomic(EVIDENCE, json.dumps(report, indent=1) + "\n")
    console.print(f"written to {EVIDENCE}")


def show(console: Console, title: str, rows: dict[str, Any]) -> None:
    """One table of names and values."""
    table = Table(title, "value", title_justify="left")
    for name, value in rows.items():
        table.add_row(name, f"{value:,.2f}".removesuffix(".00") if isinstance(value, float) else str(value))
    console.print(table)


def latent_steps(engine: EnginePage, question: str) -> dict[str, Any]:
    """Times and counts of a latent step, with compiled links and with links in JavaScript."""
    spent: dict[str, list[float]] = {"gpu": [], "javascript": []}
    runs: dict[str, dict[str, Any]] = {}
    for repeat in range(REPEATS + 1):
        for path, times in spent.items():
            few, many = (engine.run(question, rounds=1, latentSteps=m, handoff=path) for m in (FEW, MANY))
            runs[path] = many
            if repeat:  # the first run compiles shaders
                times.append((turn_ms(many) - turn_ms(few)) / (2 * (MANY - FEW)))
    compiled, scripted = (statistics.median(spent[path]) for path in ("gpu", "javascript"))
    found: dict[str, Any] = {
        "ms, compiled links": compiled,
        "ms, links in JavaScript at every step": scripted,
        "JavaScript / compiled, ratio of medians": scripted / compiled,
    }
    for path, name in (("gpu", "compiled links"), ("javascript", "links in JavaScript")):
        steps = [each["counters"] for each in runs[path]["events"] if each["kind"] == "step" and each["step"] > 0]
        for count, words in (("syncs", "synchronisations"), ("readbackBytes", "bytes read back")):
            found[f"{words}, {name}"] = spread([step[count] for step in steps])
        found[f"dispatches, {name}"] = spread([step["dispatches"] for step in steps])
        turn = runs[path]["turns"][0]["counters"]
        found[f"synchronisations a turn with its hand-off, {name}"] = turn["syncs"]
    return found


def turn_ms(run: dict[str, Any]) -> float:
    """The time of all turns that hand over thoughts: every turn but the last."""
    return float(sum(turn["ms"] for turn in run["turns"][:-1]))


def spread(values: list[int]) -> str:
    """The least and the most of some values, or the value if they are equal."""
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def decoded_tokens(engine: EnginePage, question: str) -> dict[str, Any]:
    """Times and counts of a decoded token in text mode: feeding the token before, and picking this one."""
    tokens: list[dict[str, Any]] = []
    for repeat in range(REPEATS + 1):
        run = engine.run(question, rounds=1, mode="text", decoding={"textTokens": MANY})
        fed = [a for a, b in zip(run["events"][1:], run["events"], strict=False) if a["kind"] == b["kind"] == "token"]
        tokens += fed if repeat else []
    return {
        "ms": statistics.median([each["ms"] for each in tokens]),
        "synchronisations": spread([each["counters"]["syncs"] for each in tokens]),
        "bytes read back": spread([each["counters"]["readbackBytes"] for each in tokens]),
        "dispatches": spread([each["counters"]["dispatches"] for each in tokens]),
        "tokens measured": len(tokens),
    }


def gpu_bytes(engine: EnginePage, question: str) -> dict[str, Any]:
    """GPU memory after the first and the last of many runs, and after freeing the system."""
    alive = [engine.run(question)["counters"]["liveBytes"] for _ in range(RUNS)]
    return {
        "GPU bytes alive after run 1": alive[0],
        f"GPU bytes alive after run {RUNS}": alive[-1],
        "GPU bytes alive after dispose": engine.dispose()["liveBytes"],
    }


def visits(browser: Browser) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Measures two visits to the page, then many runs."""
    with serving(PAGE, SYSTEMS) as url, kept_context(browser, url) as page:
        began = time.perf_counter()
        page.open()
        shown = time.perf_counter() - began
        zipped = script_bytes(page.requests, url, PAGE)
        page.load()
        loaded = time.perf_counter() - began
        page.run()
        first = time.perf_counter() - began
        page.page.wait_for_function("() => navigator.serviceWorker.controller !== null")
        page.page.goto("about:blank")
        began = time.perf_counter()
        page.page.goto(url)
        expect(page.button).to_contain_text("Run")
        reloaded = time.perf_counter() - began
        page.run()
        second = time.perf_counter() - began
        page.run()
        before = heap_bytes(page)
        page.page.evaluate(LONG_TASKS)
        for _ in range(RUNS):
            page.run()
        tasks = long_tasks(page)
        after = heap_bytes(page)
        compare(page)
        compared = long_tasks(page)
        measure(page)
        measured = long_tasks(page)
    seen = {
        "first visit: page there, s": shown,
        "first visit: agents loaded, s": loaded,
        "first visit: first answer, s": first,
        "second visit: agents loaded, s": reloaded,
        "second visit: first answer, s": second,
    }
    budget = {
        "JavaScript of the first view, kB gzipped": zipped / 1000,
        f"tasks over 50 ms during {RUNS} runs": len(tasks),
        "longest task while a system runs, ms": longest(tasks),
        "tasks over 50 ms during Compare": len(compared),
        "longest task during Compare, ms": longest(compared),
        f"tasks over 50 ms during Measure, {MEASURED} questions or more": len(measured),
        "longest task during Measure, ms": longest(measured),
    }
    heap = {
        "JavaScript heap before, kB": before / 1000,
        f"JavaScript heap after {RUNS} more runs, kB": after / 1000,
    }
    return seen, budget, heap


def compare(page: Playground) -> None:
    """Compares the four modes on the current question."""
    page.view("Compare")
    page.page.get_by_role("button", name="Compare on this question").click()
    expect(page.page.locator(".lane.done")).to_have_count(4)


def measure(page: Playground) -> None:
    """Starts a survey and stops it after a few questions."""
    page.view("Measure")
    page.page.get_by_label("Questions").select_option("18")
    start = page.page.get_by_role("button", name="Measure", exact=True)
    start.click()
    page.page.wait_for_function(
        "(least) => parseInt(document.querySelector('.survey-progress .fine')?.textContent ?? '') >= least",
        arg=MEASURED,
    )
    page.page.locator(".survey").get_by_role("button", name="Cancel").click()
    expect(start).to_be_enabled()


def long_tasks(page: Playground) -> list[float]:
    """The lengths in ms of the page's tasks over 50 ms since the last call."""
    tasks: list[float] = page.page.evaluate("() => window.longTasks.splice(0)")
    return tasks


def longest(tasks: list[float]) -> float | str:
    """The longest task in ms, or words if there is none."""
    return max(tasks) if tasks else "none over 50"


@contextmanager
def kept_context(browser: Browser, url: str) -> Iterator[Playground]:
    """Opens a page that keeps its storage and service worker between visits."""
    with open_playground(browser, url, service_workers="allow") as page:
        yield page


def heap_bytes(page: Playground) -> float:
    """The size of the page's JavaScript heap after garbage collection."""
    session = page.page.context.new_cdp_session(page.page)
    session.send("HeapProfiler.collectGarbage")
    used = float(session.send("Runtime.getHeapUsage")["usedSize"])
    session.detach()
    return used


if __name__ == "__main__":
    main()
