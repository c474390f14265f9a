"""Trains and measures a graph of agents that is none of the paper's patterns."""

import argparse
from pathlib import Path

import recursivemas as rm

SYSTEM = Path(__file__).with_name("system.yaml")


def main() -> None:
    """Trains the links, measures one to three rounds, and shows one answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/custom-pattern"))
    parser.add_argument("--steps", type=int, help="outer-loop steps; the system's by default")
    parser.add_argument("--limit", type=int, default=500, help="questions to measure")
    options = parser.parse_args()
    links = rm.train(SYSTEM, options.out, steps=options.steps, resume=options.out.exists(), say=print)
    system = rm.load(SYSTEM, links)
    found = system.evaluate(rounds=[1, 2, 3], limit=options.limit)
    for cell in found.cells:
        print(f"{cell.rounds} rounds: {cell.accuracy:.3f} ({cell.low:.3f} to {cell.high:.3f})")
    answer = system.ask(found.records[0].question)
    for turn in answer.trace.turns:
        print(f"round {turn.round}, {turn.agent} hands over on: {', '.join(turn.hand_offs) or 'nothing, it answers'}")
    print(f"answer: {answer}")


if __name__ == "__main__":
    main()
