"""Fuzzing of everything in Python that reads what somebody else wrote: `make fuzz`, and a small part in `make test`.

hypothesis draws a seed file and changes to it: bytes that are flipped, cut, repeated or put in, and values of JSON that
are replaced, removed or doubled. A reader may return or raise `InputError`, nothing else, within `MOST_SECONDS` of
processor time and `MOST_BYTES` of memory. An input that does anything else is kept in tests/faults/corpus/<reader>/,
and every later test reads it again.
"""

import argparse
import hashlib
import json
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from recursivemas.system.errors import InputError

REPOSITORY = Path(__file__).parents[2]
FIXTURES = REPOSITORY / "tests/fixtures"
CORPUS = Path(__file__).parent / "corpus"
MOST_SECONDS = 20.0
MOST_BYTES = 200 << 20
IN_ALL = 1_000_000
AT_LEAST = 50_000
CHUNK = 2_500

Change = tuple[int, int, int]
"""Kind of change, where, and what is put there; numbers that are taken modulo what there is."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, -(2**63), 2**64, 10**100, 0.5, -0.0, 1e308, 1e-320, "", " ", "a",
    "0", "true", "null", "constructor", "__proto__", "../x", " //host/x", "%2e%2e/x", "a\\b", "a\0b", "\ud800", "é",
    "\u202e", "a" * 300, "{question}", "{latent:a->b}", "[bold]", "float16", "checkpoint", [], {}, [[]], [None],
    [1, "a"], {"a": 1}, {"": {}}, [[[[[[[[]]]]]]]], ["a"] * 100,
)  # fmt: skip
TOKENS: tuple[bytes, ...] = (
    b"", b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\n", b"\r", b"{", b"}", b"[", b"]", b'"', b"\\",
    b"\\u0000", b"\\ud800", b":", b",", b"-", b"NaN", b"Infinity", b"1e999", b"9" * 400, b"9" * 5000, b"[" * 300,
    b'{"a":' * 300, b"&a ", b"*a", b"<<: *a\n", b"!!binary ", b"!!python/object:x ", b"!!timestamp 2026-02-30", b"- ",
    b"? ", b"| ", b"# ", b"---\n", b"...\n", b"\t", b"  ", b"'", b".inf", b"0x", b"0o8", b"1:60:99", b"~", b"{{",
    b"}}", b"{% x %}", b"{if a}" * 2000, b"{if a = b}", b"{end}", b"{else}", b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\0\0\0\0\0\0\0\x80", b"\x01\0\0\0\0\0\0\0",
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """Something that reads a file.

    Attributes:
        name: For reports, and of the corpus's folder.
        file: The file's name.
        seeds: Good files.
        read: Reads the file; anything but a return or an `InputError` is a fault.
        share: Inputs in `make test`, in thousandths of all.
    """

    name: str
    file: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]
    share: int = 40

    def faults(self, content: bytes, folder: Path) -> str | None:
        """What is wrong with how an input is read; None if nothing is."""
        path = folder / self.file
        path.write_bytes(content)
        began = time.process_time()
        try:
            self.read(path)
        except InputError:
            pass
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in Rust is no Exception
            return f"{type(error).__name__}: {str(error)[:200]}"
        spent = time.process_time() - began
        return f"took {spent:.0f} s of processor time" if spent > MOST_SECONDS else None


def changed(content: bytes, changes: Sequence[Change]) -> bytes:
    """A file with changes."""
    for kind, where, what in changes:
        content = _changed_value(content, kind, where, what) if kind % 2 else _changed_bytes(content, kind, where, what)
    return content


def _changed_bytes(content: bytes, kind: int, where: int, what: int) -> bytes:
    at = where % (len(content) + 1)
    end = min(len(content), at + 1 + what % 64)
    match kind // 2 % 5:
        case 0:
            return content[:at] + bytes([content[at] ^ 1 << what % 8]) + content[at + 1 :] if at < len(content) else b""
        case 1:
            return content[:at] + content[end:]
        case 2:
            return content[:at] + TOKENS[what % len(TOKENS)] + content[at:]
        case 3:
            return content[:end] + content[at:]
        case _:
            return content[:at]


def _changed_value(content: bytes, kind: int, where: int, what: int) -> bytes:
    """One value of a JSON file, or of a line of JSON, is replaced, removed or given another key."""
    line = content.split(b"\n")[0] if content.count(b"\n{") else content
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError):
        return _changed_bytes(content, kind + 3, where, what)
    places = list(_places(tree))
    if not places:
        return json.dumps(VALUES[what % len(VALUES)]).encode()
    holder, key = places[where % len(places)]
    value = VALUES[what % len(VALUES)]
    match kind // 2 % 3:
        case 0:
            holder[key] = value
        case 1:
            del holder[key]
        case _ if isinstance(holder, dict):
            holder[value if isinstance(value, str) else "more"] = holder[key]
        case _:
            holder.insert(key, value)
    try:
        return json.dumps(tree).encode() + content[len(line) :]
    except (ValueError, RecursionError):
        return content


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict | list):
        for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
            yield tree, key
            yield from _places(value)


# A draw takes half a millisecond, more than most readers take for an input, so that one draw is several inputs.
BATCH = 16
_LARGEST_CHANGES, _CHANGE_BYTES = 4, 5
_INPUT_BYTES = 1 + _LARGEST_CHANGES * _CHANGE_BYTES
DRAWN: st.SearchStrategy[bytes] = st.binary(min_size=BATCH * _INPUT_BYTES, max_size=BATCH * _INPUT_BYTES)


def inputs_of(drawn: bytes, seeds: Sequence[bytes]) -> Iterator[bytes]:
    """The inputs that drawn bytes stand for: each a seed file with one to four changes."""
    for start in range(0, len(drawn), _INPUT_BYTES):
        first, *rest = drawn[start : start + _INPUT_BYTES]
        which, count = divmod(first, _LARGEST_CHANGES)
        parts = (rest[at : at + _CHANGE_BYTES] for at in range(0, (count + 1) * _CHANGE_BYTES, _CHANGE_BYTES))
        changes = [(kind, int.from_bytes(where), what) for kind, *where, what in parts]
        yield changed(seeds[which % len(seeds)], changes)


class UncleanError(AssertionError):
    """An input that a reader does not read cleanly."""


def fuzz(reader: Reader, inputs: int, number: int, folder: Path) -> None:
    """Gives a reader at least so many inputs, which depend on the number alone.

    Raises:
        UncleanError: Names the fault. The smallest input that hypothesis found for it is in the corpus from now on.
    """
    set_hypothesis_home_dir(REPOSITORY / ".cache/hypothesis")
    smallest: list[tuple[str, bytes]] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @seed(number)
    @settings(
        max_examples=-(-inputs // BATCH),
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(DRAWN)
    def attempt(drawn: bytes) -> None:
        for content in inputs_of(drawn, reader.seeds):
            if fault := reader.faults(content, folder):
                smallest[:] = [(fault, content)]
                raise UncleanError(fault)

    try:
        attempt()
    except UncleanError:
        fault, content = smallest[0]
        raise UncleanError(f"{reader.name}: {fault}; kept as {_keep(reader, content)}") from None
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    if grown > MOST_BYTES:
        raise UncleanError(f"{reader.name}: {grown >> 20} MiB more memory in inputs of number {number}")


def _keep(reader: Reader, content: bytes) -> Path:
    path = CORPUS / reader.name / hashlib.sha256(content).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def corpus(reader: Reader) -> list[Path]:
    """Inputs that were once read wrongly."""
    folder = CORPUS / reader.name
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _safetensors() -> bytes:
    header = json.dumps({"a.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(16)


def _gguf() -> bytes:
    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    keys = [
        text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama"),
        text(b"llama.block_count") + struct.pack("<II", 4, 2),
        text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"b"),
        text(b"tokenizer.ggml.scores") + struct.pack("<IIQff", 9, 6, 2, 0.5, 1.0),
    ]
    tensors = [text(b"token_embd.weight") + struct.pack("<IQQIQ", 2, 4, 2, 0, 0)]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + bytes(32)


def readers() -> list[Reader]:
    """Every reader, with good files."""
    import io

    import torch

    from recursivemas.compiler import checkpoint
    from recursivemas.compiler.agent_folder import read_agent_folder
    from recursivemas.compiler.licence import declared_licence
    from recursivemas.compiler.models import load_model_config
    from recursivemas.release.measured import measured_reports
    from recursivemas.system.cache import damage
    from recursivemas.system.files import read_json
    from recursivemas.system.generation_config import checkpoint_sampling, end_tokens, read_generation_config
    from recursivemas.system.gguf_file import GgufFile
    from recursivemas.system.hub import ResolvedModel
    from recursivemas.system.links_file import load_links
    from recursivemas.system.lora import read_adapter
    from recursivemas.system.manifest import load_manifest
    from recursivemas.system.prompt import field_names, fill, parse_template
    from recursivemas.system.questions import load_questions
    from recursivemas.system.saved_run import SavedRun
    from recursivemas.system.settings import Decoding
    from recursivemas.system.shared_links import load_gallery, load_shared_links
    from recursivemas.system.system import load_system
    from recursivemas.system.tokenizer import read_tokenizer_json
    from recursivemas.training.evaluation.results import Results
    from recursivemas.training.link_formats import from_nested, read_state_dict
    from recursivemas.training.tasks.hub_data import file_rows, records_of_rows
    from recursivemas.training.train.checkpoint import load_checkpoint, save_checkpoint
    from recursivemas.training.train.role_texts import load_role_texts

    def fixture(*names: str) -> tuple[bytes, ...]:
        return tuple((FIXTURES / name).read_bytes() for name in names)

    def lines(*records: dict[str, Any]) -> bytes:
        return b"".join(json.dumps(each).encode() + b"\n" for each in records)

    def objects(*records: Any) -> tuple[bytes, ...]:
        return tuple(json.dumps(each).encode() for each in records)

    class NoTokenizer:
        eos_token_id = None

    def generation(path: Path) -> None:
        checkpoint_sampling(read_generation_config(path.parent), "x")
        end_tokens(path.parent, {}, NoTokenizer)

    def adapter(path: Path) -> None:
        (path.parent / "adapter_model.safetensors").write_bytes(_safetensors())
        read_adapter(path.parent)

    def adapter_weights(path: Path) -> None:
        good = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
        (path.parent / "adapter_config.json").write_text(json.dumps(good))
        read_adapter(path.parent)

    def results(path: Path) -> None:
        Results(path.parent, {"set": "made"}).lines()

    def run_file(path: Path) -> None:
        Results(path.parent, {"set": "made"})

    def template(path: Path) -> None:
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            return
        segments = parse_template(text)
        fill(segments, {"question": "q"} | dict.fromkeys(field_names(segments), "a"))

    def licence(path: Path) -> None:
        declared_licence(ResolvedModel(path.parent, "made"))

    def reports(path: Path) -> None:
        measured_reports([path], "made", path)

    def cached(path: Path) -> None:
        (path.parent / "entry").write_bytes(b"x")
        damage(path.parent / "entry")

    def adapted(path: Path) -> None:
        shards = path.parent / "a.safetensors"
        shards.write_bytes(_safetensors())
        checkpoint._weight_files(path.parent)

    def agent(path: Path) -> None:
        read_agent_folder(path.parent)

    def rows(path: Path) -> None:
        records_of_rows(file_rows(path), "x")

    def saved_run(path: Path) -> None:
        SavedRun.parse(read_json(path, "run"), "run")

    def decoding(path: Path) -> None:
        Decoding.parse(read_json(path, "file"), "decoding")

    def config(path: Path) -> None:
        load_model_config(checkpoint.read_config(path.parent))

    def nested_links(path: Path) -> None:
        from_nested(path, "x", ["a"], [])

    buffer = io.BytesIO()
    torch.save({"proj1.weight": torch.zeros(1, 1)}, buffer)
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder, "c"), {"identity": "x", "done": []})
        saved = Path(folder, "c").read_bytes()
    configs = json.loads((FIXTURES / "published_configs.json").read_text())
    published = list(configs.values())
    digits = "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b"
    tokenizer = {
        "version": "1.0", "added_tokens": [{"id": 0, "content": "<s>", "special": True, "single_word": False,
        "lstrip": False, "rstrip": False, "normalized": False}], "normalizer": None, "pre_tokenizer": None,
        "post_processor": None, "decoder": None, "truncation": None, "padding": None,
        "model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3}, "merges": [["a", "b"]]},
    }  # fmt: skip
    nested = {
        "hidden": 1,
        "gelu": "erf",
        "norm": None,
        "links": [{"w1": [[1.0]], "b1": [0.0], "w2": [[1.0]], "b2": [0]}],
    }
    generations = (
        {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [1, 2], "transformers_version": "5"},
        {"bos_token_id": 1, "num_beams": 1, "stop_strings": [], "sequence_bias": {}},
    )
    lora = {
        "peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none",
        "init_lora_weights": True, "rank_pattern": {}, "use_rslora": False, "modules_to_save": None,
    }  # fmt: skip
    text = b"{question} and {a} {latent:a->b} {{x}} {if a} b {else} c {end}"
    return [
        Reader("system", "system.yaml", fixture("formats-1/walk.yaml"), load_system, 25),
        Reader("manifest", "system.json", fixture("formats-1/system.json"), load_manifest, 60),
        Reader("links", "x.json", fixture("formats-1/paper.recursivelink.json"), load_links, 60),
        Reader("shared-links", "shared-links.json", fixture("formats-1/shared-links.json"), load_shared_links, 20),
        Reader("gallery", "gallery.json", fixture("formats-1/gallery.json"), load_gallery, 10),
        Reader("saved-run", "run.json", fixture("saved-runs/version-4.json"), saved_run, 40),
        Reader(
            "decoding",
            "d.json",
            objects({"max_new_tokens": 5, "temperature": 0.5, "answer_retry": {"needs": "box"}}),
            decoding,
            60,
        ),
        Reader(
            "questions",
            "q.jsonl",
            (lines({"question": "q", "answer": "a", "choices": ["a"], "more": 1}, {"question": "q", "answer": "a"}),),
            load_questions,
            60,
        ),
        Reader("rows", "q.json", objects([{"problem": "q", "answer": 0, "choices": ["a"]}]), rows, 50),
        Reader("rows-csv", "q.csv", (b'question,answer,group\n"q, ""r""",a,g\nq,a,g\n',), rows, 50),
        Reader(
            "role-texts",
            "r.jsonl",
            (
                lines(
                    {"prompt": ["a", {"hand_off": "b"}], "completion": "c", "kind": "answer"},
                    {"agent": "a", "question": "q", "completion": "c", "kind": "hand_off"},
                ),
            ),
            load_role_texts,
            50,
        ),
        Reader("template", "t.txt", (text,), template, 60),
        Reader("generation-config", "generation_config.json", objects(*generations), generation, 60),
        Reader("adapter-config", "adapter_config.json", objects(lora), adapter, 40),
        Reader("adapter-weights", "adapter_model.safetensors", (_safetensors(),), adapter_weights, 40),
        Reader("config", "config.json", objects(*published), config, 60),
        Reader("safetensors", "model.safetensors", (_safetensors(),), checkpoint._read_header, 50),
        Reader("index", "model.safetensors.index.json", objects({"weight_map": {"a": "a.safetensors"}}), adapted, 50),
        Reader("gguf", "model.gguf", (_gguf(),), GgufFile, 60),
        Reader("tokenizer", "tokenizer.json", objects(tokenizer), read_tokenizer_json, 50),
        Reader("nested-links", "n.json", objects(nested), nested_links, 40),
        Reader("state-dict", "a.pt", (buffer.getvalue(),), read_state_dict, 15),
        Reader("checkpoint", "checkpoint.pt", (saved, buffer.getvalue()), load_checkpoint, 30),
        Reader("results", "results.jsonl", (lines({"index": 0, "ours": [True], "sha256": "x"}),), results, 40),
        Reader("run-file", "run.json", objects({"set": "made"}), run_file, 30),
        Reader("digests", "entry.sha256", (f"{digits}  entry\n".encode(),), cached, 30),
        Reader("licence", "README.md", (b"---\nlicense: other\nlicense_name: x\n---\ntext\n",), licence, 15),
        Reader("measured", "m.json", objects({"system": "made", "links_sha256": digits}), reports, 30),
        Reader("agent", "mlc-chat-config.json", fixture("formats-1/mlc-chat-config.json"), agent, 40),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """`make fuzz`: goes on where it was stopped; returns 1 if anything was unclean."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--progress", type=Path, default=REPOSITORY / ".cache/fuzz.json", help="inputs done so far")
    parser.add_argument("--inputs", type=int, default=IN_ALL, help="of all readers together")
    given_arguments = parser.parse_args(arguments)
    path: Path = given_arguments.progress
    done: dict[str, int] = json.loads(path.read_text()) if path.is_file() else {}
    every, unclean = readers(), 0
    wanted = max(-(-given_arguments.inputs // len(every)), min(AT_LEAST, given_arguments.inputs))
    path.parent.mkdir(parents=True, exist_ok=True)
    # A chunk of each reader in turn, so that a run that is stopped has tried all of them.
    while waiting := [reader for reader in every if done.get(reader.name, 0) < wanted]:
        for reader in waiting:
            count = done.get(reader.name, 0)
            with tempfile.TemporaryDirectory() as folder:
                try:
                    fuzz(reader, min(CHUNK, wanted - count), count + 1, Path(folder))
                except UncleanError as fault:
                    unclean += 1
                    print(fault, file=sys.stderr, flush=True)
            done[reader.name] = min(count + CHUNK, wanted)
            path.write_text(json.dumps(done) + "\n")
        print(f"{sum(done.values()):,} inputs of {wanted * len(every):,}, {unclean} unclean", flush=True)
    return 1 if unclean else 0


if __name__ == "__main__":
    sys.exit(main())
