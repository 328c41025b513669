"""Lets these tests build systems with the interpreter's own test parts."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "sim"))
