"""A search tool: reads a query from standard input, prints the lines of a file that have most of its words."""

import re
import sys
from pathlib import Path

MOST_LINES = 3


def search(query: str, lines: list[str]) -> list[str]:
    """At most `MOST_LINES` lines with words of the query, those with the most first."""
    wanted = set(re.findall(r"\w+", query.lower()))
    counted = [(len(wanted & set(re.findall(r"\w+", line.lower()))), line) for line in lines]
    best = sorted((each for each in counted if each[0]), key=lambda each: -each[0])
    return [line for _, line in best[:MOST_LINES]]


if __name__ == "__main__":
    print("\n".join(search(sys.stdin.read(), Path(sys.argv[1]).read_text(encoding="utf-8").splitlines())))
