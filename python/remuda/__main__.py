"""``python -m remuda`` is the ``remuda`` command of the same environment."""

import os
import sys
import sysconfig


def main() -> None:
    """Replace this process by the native executable."""
    command = os.path.join(sysconfig.get_path("scripts"), "remuda")
    try:
        os.execv(command, ["remuda", *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"remuda: cannot run {command}: {error.strerror}\n  hint: pip install remuda")


if __name__ == "__main__":
    main()
