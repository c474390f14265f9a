"""Every countable target of the work on speed: what was, what is now and what was wanted, from one run.

Earlier values are those of the notes from before the work, version 0.1.0 (the same figures that `bench kernels` and
`bench calls` print beside today's). Nothing here needs a GPU. CPU seconds and ratios of them are of this machine and
its load; all other values are counts and hold anywhere.

    python -m bench targets
    python -m bench.targets positions calls    # these groups; the report keeps what it says of the others
"""

import importlib.metadata
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import Browser
from rich.console import Console
from rich.table import Table

import recursivemas
from bench import calls, kernels, rollout, sizes
from bench._shipped import shipped
from bench.convert import QWEN2_5_0_5B
from bench.convert import measure as measure_job
from bench.real_size import MODELS, PROMISED
from harness.chromium import launch
from harness.engine_page import build_harness, open_page, serving
from recursivemas.compiler.library import compile_library
from recursivemas.compiler.library_metadata import read_library_metadata
from recursivemas.compiler.model_facts import relax_facts
from recursivemas.compiler.models import load_model_config, param_specs
from recursivemas.compiler.weights import weights_nbytes
from recursivemas.system.errors import InputError
from recursivemas.system.files import write_text_atomic
from recursivemas.system.quantize import find_scheme
from recursivemas.system.questions import load_questions
from recursivemas.system.system import System, load_system
from recursivemas.training.links import Links

EVIDENCE = Path("docs/evidence/bench-targets.json")
PAGE = Path("docs/benchmarks.md")
BEGIN, END = "<!-- written by python -m bench targets -->\n", "<!-- end -->\n"
SCHEME = "q4f16_1"
MOST_WORKGROUP_BYTES = 16384
MOST_STORAGE_BUFFERS = 8
"""WebGPU's default limits."""
GROWTH = 256
"""Positions by which the engine's KV cache grows (web/src/engine/kv-cache.ts)."""


@dataclass(frozen=True)
class Target:
    """One line of the table.

    Attributes:
        what: What is counted, with its unit.
        earlier: Before the work; None where nobody counted it.
        now: Computed in this run.
        least: The value must be at least this.
        most: The value must be at most this.
        note: What one must know to read it.
    """

    what: str
    earlier: float | None
    now: float
    least: float | None = None
    most: float | None = None
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return (self.least is None or self.now >= self.least) and (self.most is None or self.now <= self.most)


def positions(_: Path) -> Iterator[Target]:
    """Prompt positions that are not computed again."""
    for name, least in (("sequential-light", 52), ("mixture", 55)):
        now = calls.positions(load_system(f"systems/{name}.yaml"))["% fewer prompt positions"]
        yield Target(f"{name}: fewer prompt positions, %", 0, round(now, 1), least=least)


def merged_calls(scratch: Path) -> Iterator[Target]:
    """Calls of a latent step of Qwen3-1.7B's graph, on a device that only counts."""
    system = calls.build_trio(scratch, agents=["qwen3"])
    (found,) = calls.count_calls(build_harness(scratch / "harness"), system, True, ["qwen3"]).values()
    for key, words, most in (
        ("bindGroups", "bind groups", 16),
        ("writes", "buffer writes", 16),
        ("passes", "compute passes", 3),
    ):
        earlier = calls.EARLIER["Qwen3-1.7B"][key]
        yield Target(f"Qwen3-1.7B, a latent step: {words}", earlier, round(found[key], 1), most=most)


def dispatches(_: Path) -> Iterator[Target]:
    """Dispatches, attention, and what the shaders need."""
    for name, config in MODELS.items():
        now, earlier = kernels.count(config), kernels.EARLIER[name]
        yield Target(f"{name}: dispatches a layer", earlier["layer"], now["layer"], most=7)
        yield Target(f"{name}: dispatches of a greedy pick", earlier.get("greedy"), now["greedy"], most=3)
        yield Target(f"{name}: dispatches of a sampled pick", earlier.get("sampled"), now["sampled"], most=12)
        groups, barriers = "attention_workgroups", "attention_barriers"
        at = f"at {kernels.POSITIONS} positions"
        yield Target(f"{name}: workgroups of attention {at}", earlier[groups], now[groups], least=32)
        yield Target(
            f"{name}: barriers of attention {at}", earlier[barriers], now[barriers], most=earlier[barriers] / 20
        )
        yield Target(f"{name}: storage buffers a stage", 10, now["storage_buffers"], most=MOST_STORAGE_BUFFERS)
        yield Target(f"{name}: workgroup memory, bytes", None, now["workgroup_bytes"], most=MOST_WORKGROUP_BYTES)
        yield Target(f"{name}: shaders that Dawn refuses", 0, now["shaders_that_dawn_refuses"], most=0)


def libraries(scratch: Path) -> Iterator[Target]:
    """Sizes of libraries, the largest binding, and memory of the three agents together."""
    system = load_system("systems/sequential-light.yaml")
    resident, temporary, hidden = 0, 0, {}
    for (name, raw), agent in zip(MODELS.items(), system.agents, strict=True):
        config, scheme = load_model_config(raw), find_scheme(SCHEME)
        library = compile_library(config, scheme, scratch / f"{name}.wasm")
        earlier = sizes.EARLIER[name]["gzip"] / 1000 if name in sizes.EARLIER else None
        gzip_kb = sizes.sizes(library.read_bytes())["gzip"] / 1000
        yield Target(f"{name}: library with gzip, kB", earlier, round(gzip_kb, 1), most=500)
        metadata = read_library_metadata(library)
        binding = metadata["recursivemas"]["required_limits"]["maxStorageBufferBindingSize"]
        most = PROMISED["maxStorageBufferBindingSize"]
        yield Target(
            f"{name}: largest binding, MB",
            {"Qwen3-1.7B": 155.0}.get(name),
            round(binding / 1e6, 1),
            most=round(most / 1e6, 1),
        )
        longest = max(calls.prompt_length(system, agent, number) for number in range(system.rounds))
        added = (agent.latent_steps or system.latent_steps) + (
            (system.decoding.max_new_tokens or 0) if agent is system.agents[-1] else 0
        )
        room = -(-(longest + added) // GROWTH) * GROWTH
        resident += weights_nbytes(param_specs(config), scheme)
        resident += relax_facts(config, scheme).kv_cache.nbytes(room, scheme)
        temporary = max(temporary, *metadata["memory_usage"].values())
        hidden[agent.id] = config.hidden_size
    links = links_nbytes(system, hidden)
    yield Target(
        "the three agents together: GPU memory, GB",
        3.5,
        round((resident + temporary) / 1e9, 2),
        most=2.9,
        note="weights, KV caches for a question of 300 tokens and the system's longest answer, the largest scratch; no "
        f"links, like the value of 0.1.0; all inner and outer links in float32 take {links / 1e9:.2f} GB more",
    )


def links_nbytes(system: System, hidden_sizes: Mapping[str, int]) -> int:
    """Bytes of all links of a system on the GPU, which holds them in float32 (web/src/engine/links.ts).

    Args:
        system: Its settings say variant and widths.
        hidden_sizes: Hidden size by agent id.
    """
    edges, settings = {edge.id: (edge.source, edge.target) for edge in system.edges}, system.training
    with torch.device("meta"):
        links = Links.create(hidden_sizes, edges, settings.variant, settings.inner_width, settings.outer_width)
    return sum(4 * each.numel() for each in links.parameters())


def compiling(scratch: Path) -> Iterator[Target]:
    """CPU seconds of compiling before linking."""
    checkpoint = scratch / "checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.json").write_text(json.dumps(QWEN2_5_0_5B), encoding="utf-8")
    spent = measure_job("library", checkpoint, SCHEME, scratch / "out")["cpu_s"]
    yield Target(
        "Qwen2.5-0.5B's shape: CPU seconds of compiling before linking",
        19,
        round(spent, 1),
        most=8,
        note=f"CPU time of this machine at a load of {os.getloadavg()[0]:.1f}",
    )


def shaders(scratch: Path) -> Iterator[Target]:
    """CPU seconds that Chromium's GPU process spends on a first answer, less those of a second question's answer."""
    (each,) = shipped(["hop-sequential"])
    recursivemas.build(each.path, each.links, scratch / "systems" / each.system.name)
    assert each.system.task is not None and each.system.task.data is not None
    first, second = load_questions(each.system.task.data)[:2]
    with (
        launch() as browser,
        serving(build_harness(scratch / "harness"), scratch / "systems") as url,
        open_page(browser, url) as engine,
    ):
        marks = [gpu_cpu_s(browser)]
        engine.load(f"systems/{each.system.name}/system.json")
        for record in (first, second):
            engine.run(record.question)
            marks.append(gpu_cpu_s(browser))
    spent = [after - before for before, after in itertools.pairwise(marks)]
    yield Target(
        f"{each.system.name} in Chromium's software adapter: CPU seconds of compiling shaders",
        25,
        round(spent[0] - spent[1], 1),
        most=round(25 / 3, 1),
        note=f"loading and the first answer took the GPU process {spent[0]:.1f} s, the second answer {spent[1]:.1f} s",
    )


def gpu_cpu_s(browser: Browser) -> float:
    """CPU seconds of a browser's GPU process until now.

    Source: https://chromedevtools.github.io/devtools-protocol/tot/SystemInfo/#method-getProcessInfo
    """
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return sum(float(each["cpuTime"]) for each in processes if each["type"] == "GPU")


def rollouts(_: Path) -> Iterator[Target]:
    """Memory and time of the cached rollout at batch 1."""
    row = rollout.compare(1)
    memory = 100 * row["memory_of_concatenating"]
    yield Target("rollout at batch 1: peak memory, % of concatenating", 100, round(memory, 1), most=60)
    yield Target(
        "rollout at batch 1: times as fast as recomputing",
        6.6,
        row["times_faster"],
        least=10,
        note=f"the same products and calls alone would be {row['times_faster_at_most']} times as fast: the bound",
    )


GROUPS: dict[str, Callable[[Path], Iterator[Target]]] = {
    "positions": positions,
    "calls": merged_calls,
    "dispatches": dispatches,
    "libraries": libraries,
    "compiling": compiling,
    "shaders": shaders,
    "rollouts": rollouts,
}


def main(wanted: Sequence[str] = ()) -> None:
    """Prints the table and writes `docs/evidence/bench-targets.json`.

    Args:
        wanted: Names of groups; all by default. The report keeps what it says of the others.
    """
    console = Console()
    if unknown := sorted(set(wanted) - set(GROUPS)):
        raise InputError(f"no group of targets {unknown[0]!r}; there are {', '.join(GROUPS)}")
    before: dict[str, Any] = json.loads(EVIDENCE.read_text("utf-8"))["groups"] if wanted and EVIDENCE.is_file() else {}
    groups: dict[str, Any] = {}
    for name, group in GROUPS.items():
        if wanted and name not in wanted:
            groups |= {name: before[name]} if name in before else {}
            continue
        console.print(f"counting: {name}", style="dim")
        with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch:
            groups[name] = [asdict(each) | {"met": each.met} for each in group(Path(scratch))]
    show(console, [row for rows in groups.values() for row in rows])
    report = {
        "command": "python -m bench targets",
        "versions": {name: importlib.metadata.version(name) for name in ("recursivemas", "apache-tvm", "torch")},
        "earlier": "version 0.1.0, measured before the work on speed",
        "groups": groups,
    }
    write_text_atomic(EVIDENCE, json.dumps(report, indent=1) + "\n")
    write_text_atomic(PAGE, with_table(PAGE.read_text("utf-8"), report))
    console.print(f"written to {EVIDENCE} and {PAGE}")


def with_table(page: str, report: dict[str, Any]) -> str:
    """The page with a report's table in the place of the one that it has."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [row for rows in report["groups"].values() for row in rows]
    lines = ["| target | 0.1.0 | now | wanted | reached |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        cells = (
            row["what"],
            number(row["earlier"]),
            number(row["now"]),
            wanted_of(row),
            "yes" if row["met"] else "**no**",
        )
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"{row['what']}: {row['note']}." for row in rows if row["note"]]
    reached = f"{sum(row['met'] for row in rows)} of {len(rows)} targets are reached."
    return before + BEGIN + "\n\n".join(["\n".join(lines), reached, *notes]) + "\n" + END + after


def show(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """The table, and how many targets are reached."""
    table = Table("target", "earlier", "now", "wanted", "reached")
    for row in rows:
        table.add_row(
            row["what"], number(row["earlier"]), number(row["now"]), wanted_of(row), "yes" if row["met"] else "no"
        )
    console.print(table)
    for row in rows:
        if row["note"]:
            console.print(f"{row['what']}: {row['note']}.", markup=False)
    console.print(f"{sum(row['met'] for row in rows)} of {len(rows)} targets are reached")


def wanted_of(row: dict[str, Any]) -> str:
    """The target in words."""
    bounds = [
        f"{word} {number(row[key])}"
        for key, word in (("least", "at least"), ("most", "at most"))
        if row[key] is not None
    ]
    return ", ".join(bounds)


def number(value: float | None) -> str:
    """A number as people write it; nothing for None."""
    return "" if value is None else f"{value:,.2f}".rstrip("0").rstrip(".")


if __name__ == "__main__":
    main(sys.argv[1:])
