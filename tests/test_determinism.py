"""Same specification and seed: the same bytes, whatever the hash seed; wall time stands apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hermesdsl

ROOT = Path(__file__).parents[1]


def _run(folder: Path, hash_seed: str, *options: str) -> dict[str, bytes]:
    command = [sys.executable, "-m", "hermesdsl", "run", "examples/quickstart.hms", "--quiet",
               "--out", str(folder), *options]  # fmt: skip
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)
    files = {p.name: p.read_bytes() for p in sorted(folder.iterdir())}
    summary = json.loads(files["summary.json"])
    assert summary.pop("wall_s") > 0
    files["summary.json"] = json.dumps(summary, sort_keys=True).encode()
    return files


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first = _run(tmp_path / "a", "0")
    assert len(first) >= 3
    assert _run(tmp_path / "b", "0") == first
    assert _run(tmp_path / "c", "1234") == first


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    first, other = _run(tmp_path / "a", "0"), _run(tmp_path / "b", "0", "--seed", "2")
    assert first["requests.csv.gz"] != other["requests.csv.gz"]


@pytest.mark.parametrize("rate", ["3 req/s", "9 req/s"])
def test_both_forms_of_the_engine_agree(rate: str) -> None:
    """A9 on a compiled system with the real cost model: bit for bit."""
    system = hermesdsl.compile(ROOT / "examples/quickstart.hms", set={"load.rate": rate})
    fast = hermesdsl.run(system)
    stepped = hermesdsl.run(system, reference=True)
    assert fast.requests.equals(stepped.requests)
