"""Asks a system whose last agent may call a program of ours."""

import argparse
import sys
from pathlib import Path

import recursivemas as rm

HERE = Path(__file__).parent
TOOL = (sys.executable, str(HERE / "lookup.py"), str(HERE / "notes.txt"))


def main() -> None:
    """Answers one question in text mode, or in latent mode with trained links."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question")
    parser.add_argument("--system", type=Path, default=HERE / "system.yaml")
    parser.add_argument("--links", type=Path, help="trained links; without them the agents write to each other")
    options = parser.parse_args()
    system = rm.load(options.system, options.links, search=TOOL)
    for event in system.stream(options.question, mode="latent" if options.links else "text"):
        if isinstance(event, str):
            print(event, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
