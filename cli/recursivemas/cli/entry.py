"""Where `rmas` begins: it imports the command line where Ctrl-C is expected already."""

import sys


def main() -> None:
    """Runs the command line. An interrupt ends it with status 130 and without a traceback, during imports too."""
    try:
        from recursivemas.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
