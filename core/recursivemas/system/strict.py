"""Reads JSON and YAML that somebody else wrote: no key twice, no number that is none, nothing without bounds.

Every reader of this program goes through here. What is refused: text that is not UTF-8, a key that appears twice in a
mapping, NaN and infinity, whole numbers of more than 128 bits, halves of surrogate pairs, more than `DEEPEST` levels,
and YAML whose anchors refer to themselves or expand to more than `MOST_NODES` values.
"""

import json
import math
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import yaml

from recursivemas.system.errors import InputError

DEEPEST = 64
"""Levels of lists and mappings in each other."""
MOST_NODES = 200_000
"""Values of a YAML file, anchors expanded."""
MOST_JSON_BYTES = 1 << 28
MOST_YAML_BYTES = 1 << 20
_LARGEST_INTEGER = 1 << 128  # tokenizers say 1e30 for 'no limit'


def read_text(path: Path, what: str, most_bytes: int) -> str:
    """Reads a text file.

    Args:
        path: The file.
        what: What the file should be and what writes one, for the message.
        most_bytes: A larger file is refused.

    Raises:
        InputError: The file is missing, too large, unreadable, no ordinary file or not UTF-8.
    """
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise InputError(f"{path}: cannot be read: it is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path}: cannot be read: it is no ordinary file")
        if found.st_size > most_bytes:
            raise InputError(f"{path}: cannot be read: it has more than {most_bytes >> 20} MiB")
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read: it is not UTF-8 (byte {error.start})") from None
    except ValueError as error:  # a NUL in the path, or half of a surrogate pair
        raise InputError(f"{str(path)!r}: cannot be read: {error}") from None


def parse_json(text: str | bytes, source: str) -> Any:
    """Parses JSON.

    Args:
        text: The whole of it.
        source: Where it comes from, for the message.

    Raises:
        InputError: It is not JSON, or breaks the bounds above.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_mapping)
    except RecursionError:
        raise InputError(f"{source}: not valid JSON: more than {DEEPEST} levels deep") from None
    except ValueError as error:  # json's own, not UTF-8, integers of 4300 digits, and ours
        raise InputError(f"{source}: not valid JSON: {_line(error)}") from None
    check_bounds(value, f"{source}: not valid JSON")
    return value


def parse_yaml(text: str, source: str) -> Any:
    """Parses YAML with the types of JSON, dates and sets; anchors may be used.

    Args:
        text: The whole of it.
        source: Where it comes from, for the message.

    Raises:
        InputError: It is not YAML, or breaks the bounds above.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            _check_expansion(node)
            value = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise InputError(f"{source}: not valid YAML: more than {DEEPEST} levels deep") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # impossible dates, integers of 4300 digits
        raise InputError(f"{source}: not valid YAML: {_line(error)}") from None
    except (TypeError, AttributeError, LookupError) as error:  # what PyYAML's constructors raise for tags that misfit
        raise InputError(f"{source}: not valid YAML: a tag that does not fit its value ({_line(error)})") from None
    check_bounds(value, f"{source}: not valid YAML", allow_nul=False)
    return value


def check_bounds(value: Any, where: str, allow_nul: bool = True) -> None:
    """Refuses a parsed value that is too deep, or has numbers or texts that no file can be written with.

    Args:
        value: Lists, mappings and what is in them.
        where: The beginning of the error's line.
        allow_nul: Whether texts may have the character NUL, which tokens have but no path does.

    Raises:
        InputError: Its line begins with `where`.
    """
    level: list[Any] = [value]
    depth = 0
    while level:
        if depth > DEEPEST:
            raise InputError(f"{where}: more than {DEEPEST} levels deep")
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                _check_scalars(each.keys(), where, allow_nul, below)
                _check_scalars(each.values(), where, allow_nul, below)
            elif isinstance(each, list | tuple | set):
                _check_scalars(each, where, allow_nul, below)
            else:
                _check_scalars((each,), where, allow_nul, below)
        level = [each for each in below if isinstance(each, dict | list | tuple | set)]
        depth += 1


def _check_scalars(values: Iterable[Any], where: str, allow_nul: bool, below: list[Any]) -> None:
    for each in values:
        kind = type(each)
        if kind is float:
            if not math.isfinite(each):
                raise InputError(f"{where}: a number that is infinite or none (NaN)")
        elif kind is str:
            if not each.isascii() and any("\ud800" <= letter <= "\udfff" for letter in each):
                raise InputError(f"{where}: {ascii(each)[:60]} has half of a surrogate pair, which is no character")
            if "\0" in each and not allow_nul:
                raise InputError(f"{where}: {ascii(each)[:60]} has a NUL character")
        elif kind is int:
            if not -_LARGEST_INTEGER < each < _LARGEST_INTEGER:
                raise InputError(f"{where}: a whole number of more than 128 bits")
        elif kind is not bool and each is not None:
            below.append(each)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key[:60]!r} appears twice")
            seen.add(key)
    return found


class _Loader(yaml.SafeLoader):
    """PyYAML's, which refuses a key that appears twice. A merge key (`<<`) may give keys that stand beside it too."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping node as a dict."""
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, _ in node.value:
                name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
                if name in seen and name is not None:
                    raise ValueError(f"the key {name[1][:60]!r} appears twice, in line {key.start_mark.line + 1}")
                seen.add(name)
        return super().construct_mapping(node, deep)


def _check_expansion(root: Any) -> None:
    """Refuses nodes that refer to themselves, are too deep, or have too many values when anchors are expanded."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: Any, depth: int) -> int:
        if isinstance(node, yaml.ScalarNode) or node is None:
            return 1
        if id(node) in sizes:
            return sizes[id(node)]
        if id(node) in open_nodes:
            raise ValueError("an anchor refers to itself")
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} levels deep")
        open_nodes.add(id(node))
        mapping = isinstance(node, yaml.MappingNode)
        children = [each for pair in node.value for each in pair] if mapping else node.value
        total = 1 + sum(size(child, depth + 1) for child in children)
        open_nodes.discard(id(node))
        if total > MOST_NODES:
            raise ValueError(f"more than {MOST_NODES} values, with anchors expanded")
        sizes[id(node)] = total
        return total

    size(root, 0)
