"""`make bench`: runs every benchmark of this folder in turn, or those named on the command line.

A benchmark is a module whose `main()` prints a table and writes `docs/evidence/bench-<name>.json`.
"""

import importlib
import pkgutil
import sys
from pathlib import Path

from rich.console import Console

from recursivemas.system.errors import InputError


def main() -> None:
    """Runs the benchmarks; if one cannot run, it says why and the next one follows."""
    console = Console()
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name[0] != "_"]
    wanted = sys.argv[1:] or names
    if unknown := sorted(set(wanted) - set(names)):
        sys.exit(f"no benchmark {unknown[0]!r}; there are {', '.join(names)}")
    failed = []
    for name in wanted:
        console.rule(f"bench {name}")
        try:
            importlib.import_module(f"bench.{name}").main()
        except InputError as error:
            console.print(f"could not run: {error}", style="red", markup=False)
            failed.append(name)
    if failed:
        sys.exit(f"could not run: {', '.join(failed)}")


if __name__ == "__main__":
    main()
