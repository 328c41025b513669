"""Fixtures of the tests of cost models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from cost_systems import LATENT, LLAMA3_70B, MIXTRAL, SHEETS, client, dense, engine, fabric, group


@pytest.fixture(scope="session")
def build() -> SimpleNamespace:
    """Factories: `build.engine(build.llama, build.group(build.sheets["h100"], tp=2))`."""
    return SimpleNamespace(
        sheets=SHEETS, dense=dense, llama=LLAMA3_70B, mixtral=MIXTRAL, latent=LATENT,
        fabric=fabric, group=group, engine=engine, client=client,
    )  # fmt: skip


@pytest.fixture(scope="session")
def data() -> Callable[[str], Path]:
    """Path of a file of development measurements; skips the test where they are absent."""
    root = Path(__file__).parents[2] / "../shared/data"

    def find(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"measurements {name} are not beside this checkout")
        return root / name

    return find
