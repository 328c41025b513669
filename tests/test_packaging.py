"""The built wheel carries grammar and library, and runs where nothing else of ours lies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: What we add beside numpy, pandas and networkx must stay below this.
BUDGET = 60 * 10**6
#: Distributions whose size does not count: the three named ones and what they bring.
_GIVEN = ("numpy", "pandas", "networkx", "dateutil", "pytz", "tzdata", "six", "pip", "setuptools",
          "_distutils_hack", "pkg_resources")  # fmt: skip


def _run(*command: str | Path, cwd: Path) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, cwd=ROOT)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder / "env", with_pip=True)
    _run(folder / "env/bin/python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    return folder


@pytest.mark.slow
def test_wheel_carries_grammar_library_and_font(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "hermesdsl/_grammar/hermes.lark", "hermesdsl/_grammar/hermes.tables.json",
        "hermesdsl/_stdlib/prelude.hms",
        "hermesdsl/_stdlib/nvidia/hopper.hms",
    ):  # fmt: skip
        assert wanted in names
    assert any(name.endswith(".ttf") for name in names)
    assert not any(name.startswith(("tests/", "examples/")) for name in names)


@pytest.mark.slow
def test_quickstart_runs_from_the_wheel_alone(installed: Path) -> None:
    spec = installed / "quickstart.hms"
    spec.write_text((ROOT / "examples/quickstart.hms").read_text(encoding="utf-8"))
    hermes = installed / "env/bin/hermes"
    summary = json.loads(_run(hermes, "run", "quickstart.hms", "--json", cwd=installed))
    assert summary["requests"]["completed"] == summary["requests"]["offered"] > 0
    _run(hermes, "draw", "quickstart.hms", "--renderer", "embedded", "-o", "x.png", cwd=installed)
    assert (installed / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_what_we_add_is_small(installed: Path) -> None:
    (site,) = (installed / "env/lib").glob("python3*/site-packages")
    size = sum(
        file.stat().st_size
        for file in site.rglob("*")
        if file.is_file()
        and "__pycache__" not in file.parts
        and not file.relative_to(site).parts[0].startswith(_GIVEN)
    )
    assert size < BUDGET, f"{size / 1e6:.1f} MB"
