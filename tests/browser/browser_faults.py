"""Every kind of browser fault that is tried, with the words the visitor sees: the table in docs/faults.md.

`python -m tests.browser.browser_faults` writes the table anew.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.browser import fault_acts as do
from tests.browser.fault_acts import INDEX, MANIFEST, SHARD, Act, loading, opening, page, passing, worker

DOCUMENT = Path(__file__).parents[2] / "docs/faults.md"
BEGIN, END = "<!-- checked: browser faults -->\n", "\n<!-- end -->"


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        group: Where it breaks.
        what: What happens, in the table's words.
        act: Makes it happen, and does what the visitor does.
        says: The heading of the problem that the page shows, or one of `NO_HEADING`.
        words: Parts of the technical details, or of the page if there is no problem, in order.
        quick: Whether `make test` tries it; `make test-all` tries all.
    """

    group: str
    what: str
    act: Act
    says: str
    words: tuple[str, ...]
    quick: bool = False

    @property
    def name(self) -> str:
        """For reports of tests."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.group} {self.what}".lower()).strip("-")


def faults() -> list[Fault]:
    """The kinds, by where they break."""
    return [
        Fault(group, *rest)
        for group, kinds in {
            "page": PAGE, "list of systems": LIST, "manifest": NETWORK, "hostile manifest": HOSTILE, "files": FILES,
            "worker": WORKER, "graphics card": GPU, "browser's cache": CACHE, "visitor's files": GIVEN,
            "address and tab": ADDRESS,
        }.items()
        for rest in kinds
    ]  # fmt: skip


Kinds = Sequence[tuple[str, Act, str, tuple[str, ...]] | tuple[str, Act, str, tuple[str, ...], bool]]

STAYS = "If this sentence stays, the page’s script is missing or was blocked"
NO_LIST = "There is no list of systems beside this page"
DOWNLOAD = "A file could not be downloaded"
UNREADABLE = "This system’s description cannot be read"
DAMAGED = "A file arrived damaged"
NO_SYSTEM = "There is no such system"
NO_GPU = "This browser has no WebGPU"
NOT_OPENED = "This cannot be opened"
NO_RUN = "This run cannot be opened"
LIBRARY = "An agent’s library does not fit this page"
LINKS = "The links do not fit these agents"
SYSTEM = "hop-sequential"
OPENS = "no problem: the page works"
LOADS = "no problem: the agents load"
INSTEAD = "a sentence in place of the page"
NO_HEADING = (OPENS, LOADS, INSTEAD)

PAGE: Kinds = [
    ("the browser runs no scripts", do.without_scripts, INSTEAD, ("which requires JavaScript",)),
    (
        "its script is missing on the server",
        do.both(do.status("**/assets/index-*.js", 404), do.blank),
        INSTEAD,
        (STAYS,),
        True,
    ),
    (
        "its script is the login page of a Wi-Fi network",
        do.both(lambda v: v.answer("**/assets/index-*.js", do.LOGIN, content_type="text/html"), do.blank),
        INSTEAD,
        (STAYS,),
    ),
    ("its style sheet is missing", opening(do.status("**/assets/index-*.css", 404)), OPENS, (SYSTEM,)),
    (
        "its address is plain http",
        do.insecure,
        "This page needs a secure address",
        ("only for pages on https or localhost",),
        True,
    ),
]
LIST: Kinds = [
    (
        "it is missing",
        opening(do.status(INDEX, 404)),
        NO_LIST,
        ("the server answered 404", "the file is not there"),
    ),
    ("the server is down", opening(lambda v: v.refuse(INDEX)), NO_LIST, ("is the server reachable?",)),
    (
        "the server never answers",
        opening(do.impatient, page(do.silent("index.json"))),
        NO_LIST,
        ("nothing arrived for 30 seconds",),
    ),
    (
        "it is the login page of a Wi-Fi network",
        opening(lambda v: v.answer(INDEX, do.LOGIN)),
        NO_LIST,
        ("is not valid JSON but a web page",),
    ),
    (
        "it is of a newer version",
        opening(lambda v: v.answer(INDEX, '{"version": 2}')),
        NO_LIST,
        ("list of systems version 2 is newer",),
    ),
    (
        "it names a system outside its folder",
        opening(lambda v: v.answer(INDEX, do.OUTSIDE)),
        NO_LIST,
        ("expected a path below the index's folder",),
    ),
]
NETWORK: Kinds = [
    ("the server is down", opening(lambda v: v.refuse(MANIFEST)), DOWNLOAD, ("is the server reachable?",)),
    (
        "the server never answers",
        opening(do.impatient, page(do.silent("/system.json"))),
        DOWNLOAD,
        ("nothing arrived for 30 seconds",),
        True,
    ),
    ("the server answers 401", opening(do.status(MANIFEST, 401)), DOWNLOAD, ("make it public",)),
    ("the server answers 403", opening(do.status(MANIFEST, 403)), DOWNLOAD, ("make it public",), True),
    ("the server answers 404", opening(do.status(MANIFEST, 404)), NO_SYSTEM, ("no system is at",)),
    ("the server answers 410", opening(do.status(MANIFEST, 410)), DOWNLOAD, ("the file is not there",)),
    ("the server answers 429", opening(do.status(MANIFEST, 429)), DOWNLOAD, ("too many requests came from here",)),
    ("the server answers 500", opening(do.status(MANIFEST, 500)), DOWNLOAD, ("the server itself has a problem",)),
    ("the server answers 503", opening(do.status(MANIFEST, 503)), DOWNLOAD, ("the server itself has a problem",)),
    (
        "it is the login page of a Wi-Fi network",
        opening(lambda v: v.answer(MANIFEST, do.LOGIN)),
        UNREADABLE,
        ("is not valid JSON but a web page",),
    ),
    (
        "only a half of it arrives",
        opening(lambda v: v.answer(MANIFEST, v.content("system.json")[:2000])),
        UNREADABLE,
        ("is not valid JSON",),
    ),
    ("it is empty", opening(lambda v: v.answer(MANIFEST, "")), UNREADABLE, ("is not valid JSON",)),
    (
        "it lies on a host that does not allow other pages",
        opening(query="?system=https://elsewhere.invalid/system.json"),
        DOWNLOAD,
        ("is the server reachable?",),
    ),
]
HOSTILE: Kinds = [
    ("a newer version", opening(do.manifest(version=2)), UNREADABLE, ("manifest version 2 is newer",)),
    ("an unknown key", opening(do.manifest(surprise=1)), UNREADABLE, ("unknown key 'surprise'",)),
    (
        "a missing key",
        opening(lambda v: v.manifest(lambda data: data.pop("agents"))),
        UNREADABLE,
        ("missing key 'agents'",),
    ),
    (
        "an agent called constructor",
        opening(do.agent(id="constructor")),
        UNREADABLE,
        ("'constructor' has a meaning in JavaScript",),
        True,
    ),
    (
        "a key called __proto__",
        opening(do.manifest(required_limits={"__proto__": 1})),
        UNREADABLE,
        ("'__proto__', which has a meaning",),
    ),
    (
        "a path that leaves the folder",
        opening(do.manifest(links="../x.json")),
        UNREADABLE,
        ("expected a path below the manifest's folder",),
    ),
    (
        "a path to another host",
        opening(do.manifest(links=" //host/x.json")),
        UNREADABLE,
        ("expected a path below the manifest's folder",),
    ),
    (
        "a path that is decoded into another",
        opening(do.manifest(links="%2e%2e/x.json")),
        UNREADABLE,
        ("expected a path below the manifest's folder",),
    ),
    (
        "3,000 agents",
        opening(lambda v: v.manifest(lambda data: data.update(agents=data["agents"] * 1000))),
        UNREADABLE,
        ("agents: expected <=64, got 3000",),
    ),
    ("a billion rounds", opening(do.manifest(rounds=10**9)), UNREADABLE, ("rounds: expected <=64, got 1000000000",)),
    ("rounds that are true", opening(do.manifest(rounds=True)), UNREADABLE, ("rounds: expected number, got true",)),
    (
        "nesting of 200,000 levels",
        opening(lambda v: v.answer(MANIFEST, do.DEEP)),
        UNREADABLE,
        ("more than 64 levels deep",),
    ),
    (
        "provenance of 200,000 levels",
        opening(lambda v: v.answer(MANIFEST, do.deep_provenance(v))),
        UNREADABLE,
        ("more than 64 levels deep",),
    ),
    (
        "edges in a circle",
        opening(lambda v: v.manifest(lambda data: data["edges"][-1].update(feedback=False))),
        UNREADABLE,
        ("closes a cycle without an order",),
    ),
    ("a file that it does not list", opening(do.manifest(files=[])), UNREADABLE, ("'files' does not list",)),
    ("a file of 10^15 bytes", opening(do.huge_file), UNREADABLE, ("no browser can hold more than 8 GiB",)),
    (
        "an unknown limit of WebGPU",
        loading(do.manifest(required_limits={"maxWishes": 3})),
        UNREADABLE,
        ("unknown WebGPU limit 'maxWishes'",),
    ),
    (
        "HTML in a description",
        opening(do.manifest(description="<img src=x onerror=alert(1)>")),
        OPENS,
        ("<img src=x onerror=alert(1)>",),
    ),
]
FILES: Kinds = [
    (
        "a shard with one flipped bit",
        loading(do.shard(lambda b: bytes([b[0] ^ 1]) + b[1:])),
        DAMAGED,
        ("its sha256 is", "system.json says"),
    ),
    ("a shard that is cut", loading(do.shard(lambda b: b[:-100])), DAMAGED, ("bytes, system.json says",)),
    ("a shard that is too long", loading(do.shard(lambda b: b + b"x")), DAMAGED, ("got more than",)),
    ("a shard that is empty", loading(do.shard(lambda b: b"")), DAMAGED, ("got 0 bytes",)),
    (
        "a shard that is the login page of a Wi-Fi network",
        loading(do.shard(lambda b: do.LOGIN.encode())),
        DAMAGED,
        ("bytes, system.json says",),
    ),
    ("a shard that is missing", loading(do.status(f"**/{SHARD}", 404)), DOWNLOAD, ("the server answered 404",)),
    ("a shard that is not public", loading(do.status(f"**/{SHARD}", 403)), DOWNLOAD, ("make it public",)),
    (
        "a shard whose connection is refused again and again",
        loading(do.impatient, lambda v: v.refuse(f"**/{SHARD}")),
        DOWNLOAD,
        ("is the server reachable?",),
    ),
    (
        "a shard that never comes",
        loading(do.impatient, worker(do.silent(".bin"))),
        DOWNLOAD,
        ("nothing arrived for 30 seconds",),
    ),
    (
        "a shard that stops in the middle once",
        passing(do.impatient, do.fetching(do.PART_THEN_SILENCE)),
        LOADS,
        (),
        True,
    ),
    (
        "a shard whose connection breaks in the middle once",
        passing(do.impatient, do.fetching(do.PART_THEN_CUT)),
        LOADS,
        (),
    ),
    (
        "another build was deployed since the page was opened",
        do.new_deployment,
        DOWNLOAD,
        ("the file is not there",),
        True,
    ),
    ("another build has other files under the same names", do.other_build, DAMAGED, ("belongs to another build",)),
    (
        "a tokenizer that is no JSON",
        loading(do.signed("tokenizer.json", lambda text: text[:-10])),
        UNREADABLE,
        ("its tokenizer.json cannot be read",),
    ),
    (
        "a tokenizer without a model",
        loading(do.signed("tokenizer.json", lambda text: "{}")),
        UNREADABLE,
        ("its tokenizer.json cannot be read",),
    ),
    (
        "an index of weights without names",
        loading(do.signed("tensor-cache.json", lambda text: text.replace('"name"', '"nome"'))),
        UNREADABLE,
        ("tensor-cache.json is broken", "missing key"),
    ),
    (
        "questions that are no list",
        loading(do.signed("questions*.json", lambda text: "{}")),
        UNREADABLE,
        ("is not a list of questions",),
    ),
    (
        "a library that is a page of HTML",
        loading(lambda v: v.signed("*.wasm", do.LOGIN.encode())),
        LIBRARY,
        ("its model library does not load",),
        True,
    ),
    (
        "a library that is an empty module",
        loading(lambda v: v.signed("*.wasm", b"\0asm\1\0\0\0")),
        LIBRARY,
        ("its model library does not load",),
    ),
    (
        "a library that is cut",
        loading(lambda v: v.signed("*.wasm", v.content("*.wasm")[:100_000])),
        LIBRARY,
        ("its model library does not load",),
    ),
    (
        "links for other agents",
        loading(do.signed("recursivelink*.json", do.links(do.swap_links))),
        LINKS,
        ("but the agents need 96 to 96",),
    ),
    (
        "links with NaN",
        loading(do.signed("recursivelink*.json", do.links(do.nan_links))),
        LINKS,
        ("holds NaN or infinity",),
    ),
    (
        "links of a newer version",
        loading(do.signed("recursivelink*.json", do.links(lambda d: d.update(version=9)))),
        LINKS,
        ("link file version 9 is newer",),
    ),
]
WORKER: Kinds = [
    (
        "its script is missing on the server",
        loading(do.status("**/assets/worker-*.js", 404)),
        DOWNLOAD,
        ("the script of the engine's worker could not be loaded",),
        True,
    ),
    (
        "its script is the login page of a Wi-Fi network",
        loading(lambda v: v.answer("**/assets/worker-*.js", do.LOGIN, content_type="text/html")),
        DOWNLOAD,
        ("the script of the engine's worker could not be loaded",),
    ),
    (
        "its script is half there",
        loading(worker("{")),
        DOWNLOAD,
        ("the script of the engine's worker could not be loaded",),
    ),
    (
        "it throws",
        loading(worker("setTimeout(() => { throw new Error('out of luck'); }, 1);"), do.endless),
        "Something broke inside the page",
        ("the engine's worker failed", "out of luck"),
    ),
]
GPU: Kinds = [
    (
        "the browser has no memory for a library",
        loading(worker(do.NO_MEMORY)),
        "The browser ran out of memory",
        ("the browser has no memory left",),
    ),
    ("the browser has no WebGPU", loading(worker(do.NO_WEBGPU)), NO_GPU, ("this browser has no WebGPU",)),
    ("there is no adapter", loading(worker(do.NO_ADAPTER)), NO_GPU, ("check that hardware acceleration is on",)),
    (
        "the adapter never answers",
        loading(do.impatient, worker(do.SILENT_ADAPTER)),
        NO_GPU,
        ("gave no graphics card within 60 seconds",),
        True,
    ),
    (
        "the adapter never answers while the page chooses among variants",
        opening(do.impatient, do.variants, page(do.SILENT_ADAPTER)),
        NO_GPU,
        ("gave no graphics card within 60 seconds",),
    ),
    ("the adapter gives no device", loading(worker(do.NO_DEVICE)), NO_GPU, ("gave no device: the driver said no",)),
    (
        "the device never comes",
        loading(do.impatient, worker(do.SILENT_DEVICE)),
        NO_GPU,
        ("gave no graphics card within 60 seconds",),
    ),
    (
        "the card has no half precision",
        loading(do.manifest(required_features=["shader-f16"])),
        "Your graphics card lacks a feature that this system needs",
        ("lacks shader-f16",),
    ),
    (
        "the card's limits are too small",
        loading(worker(do.SMALL_CARD)),
        "This system is too large for your graphics card",
        ("this GPU offers 1024",),
    ),
    (
        "the card is out of memory",
        loading(worker(do.OUT_OF_MEMORY)),
        "The graphics card ran out of memory",
        ("not enough memory left",),
    ),
    (
        "the card refuses a command",
        loading(worker(do.REFUSED)),
        "The graphics card refused a step, so the results cannot be trusted",
        ("no such thing",),
    ),
    (
        "the device is lost while the agents load",
        loading(worker(do.LOST)),
        "The browser lost the graphics card",
        ("load the system again",),
        True,
    ),
]
CACHE: Kinds = [
    ("the browser has none", passing(worker(do.NO_CACHE)), LOADS, ()),
    ("it cannot be opened", passing(worker(do.UNREADABLE_CACHE)), LOADS, (), True),
    ("it never opens", passing(do.impatient, worker(do.SILENT_CACHE)), LOADS, ()),
    ("it never gives an entry", passing(do.impatient, worker(do.SILENT_ENTRY)), LOADS, ()),
    ("its entries cannot be read", passing(worker(do.BROKEN_ENTRY)), LOADS, ()),
    ("its entries are damaged", passing(worker(do.WRONG_ENTRY)), LOADS, ()),
    ("it is full", passing(worker(do.FULL_CACHE)), LOADS, ()),
]
GIVEN: Kinds = [
    ("a saved run that is no JSON", lambda v: v.give("run.json", "not JSON"), NO_RUN, ("is not valid JSON",), True),
    ("a saved run of a newer page", do.saved(version=99), NO_RUN, ("saved run version 99 is newer",)),
    ("a saved run without a result", do.saved(result=None), NO_RUN, ("result: expected",)),
    ("a saved run that contradicts itself", do.saved(events=[]), NO_RUN, ("this saved run contradicts itself",)),
    ("a saved run that lasts for ever", do.endless_run, NO_RUN, ("a number is too large",)),
    ("a saved run that is empty", lambda v: v.give("run.json", ""), NO_RUN, ("is not valid JSON",)),
    (
        "a picture as a saved run",
        lambda v: v.give("run.json", b"\x89PNG\r\n\x1a\n\0\0"),
        NO_RUN,
        ("is not valid JSON",),
    ),
    (
        "a folder without a system",
        do.dropping(do.folder("a.txt", "b.txt")),
        NOT_OPENED,
        ("with its system.json, but there is none in it",),
    ),
    (
        "system.json without its folder",
        do.dropping(do.file("system.json", "{}")),
        NOT_OPENED,
        ("drop the whole folder",),
    ),
    (
        "a file of another kind",
        do.dropping(do.file("notes.txt", "<b>hello</b>")),
        NOT_OPENED,
        ("is neither a system's folder",),
    ),
    ("a whole disk", do.dropping(do.many_files), NOT_OPENED, ("got more than 10000 files",)),
    (
        "a folder that lacks most of its files",
        do.both(do.dropping(do.folder("system.json", "sbom.cdx.json")), do.load_folder),
        DOWNLOAD,
        ("is not in the folder; open the whole folder",),
    ),
    ("links for other agents", do.dropped_links, LINKS, ("but the agents need 96 to 96",)),
]
ADDRESS: Kinds = [
    ("a name that the list lacks", opening(query="?system=hop"), NO_SYSTEM, ("no system is at 'hop'",)),
    ("an address that is none", opening(query="?system=http://["), NO_SYSTEM, ("no system is at 'http://['",)),
    ("a folder of an earlier visit", opening(query="?system=folder:mine"), NOT_OPENED, ("drop it again",)),
    (
        "settings out of range",
        opening(query="?rounds=1e9&steps=-1&t=NaN&mode=x&view=x&n=0"),
        OPENS,
        ("Load the agents",),
    ),
    (
        "agents and edges that do not exist",
        opening(query="?order=__proto__&off=constructor&role.toString=x"),
        OPENS,
        ("Load the agents",),
    ),
    (
        "a prompt with an unknown slot",
        opening(query="?view=change&prompt.planner=%7Boops"),
        OPENS,
        ("unbalanced",),
    ),
    ("HTML in a question", opening(query="?q=%3Cimg%20src%3Dx%3E"), OPENS, (SYSTEM,)),
    ("a question of 100,000 characters, and a reload", do.long_question, OPENS, (SYSTEM,), True),
    (
        "a long question that the tab's history cannot hold",
        do.forgotten_question,
        OPENS,
        (SYSTEM,),
    ),
    ("storage that the browser denies", opening(page(do.NO_STORAGE)), OPENS, (SYSTEM,)),
    (
        "a clipboard that the browser denies",
        do.both(page(do.NO_CLIPBOARD), do.copying),
        OPENS,
        ("The link to this configuration:",),
    ),
]


def table() -> str:
    """The table of docs/faults.md."""
    rows = ["| where | what happens | the visitor reads | and in the details |", "| --- | --- | --- | --- |"]
    for fault in faults():
        details = " … ".join(f"“{words}”" for words in fault.words if words != SYSTEM)
        cells = (fault.group, fault.what, fault.says, details)
        rows.append("| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |")
    return "\n".join(rows)


def document(text: str) -> str:
    """The document with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
