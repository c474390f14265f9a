"""Optional packages: asked for where they are first needed, with the command that installs them."""

import importlib.util

from recursivemas.system.errors import InputError


def require(*modules: str) -> None:
    """Checks that modules of the extra `train` are installed.

    Raises:
        InputError: Names those that are missing and how to install them.
    """
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"this needs {', '.join(missing)}, which is not installed; install it with: "
            "pip install 'recursivemas[train]' (in a clone: make setup)"
        )
