"""``python -m hermesdsl``: the same as the command ``hermes``."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    from hermesdsl.cli.app import run

    sys.exit(run())


if __name__ == "__main__":
    main()
