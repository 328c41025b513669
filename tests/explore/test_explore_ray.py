"""Sweeps on a real Ray cluster of this machine, started here: same table, losses survived."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

import hermesdsl
from hermesdsl import SpecError
from hermesdsl.api import System
from hermesdsl.explore import job_of
from hermesdsl.explore.bundle import bundled, stage, unpacked
from hermesdsl.explore.job import Runner, Task
from hermesdsl.explore.points import points

Compiled = Callable[..., System]
GRID = "sweep n; sweep load.rate in [1 req/s, 4 req/s]; seeds = [1, 2]"
needs_ray = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="the extra `ray` is not installed"),
]


class Head:
    """A Ray head with two workers, in a session of its own."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        ray = Path(sys.executable).with_name("ray")
        self._process = subprocess.Popen(
            [ray, "start", "--head", f"--port={self.port}", "--num-cpus=2", "--block",
             "--include-dashboard=false", "--disable-usage-stats"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        while self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                time.sleep(3)  # its node registers after its port opens
                return
            time.sleep(0.2)
        raise RuntimeError("no Ray head")

    def lose(self) -> None:
        """Kill the head's store of everything, as if the machine were gone."""
        os.kill(_found(lambda text: "gcs_server" in text and f"={self.port}" in text)[0], 9)

    def stop(self) -> None:
        """End it and what it started."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _found(wanted: Callable[[str], bool]) -> list[int]:
    """Processes by their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and wanted((entry / "cmdline").read_text().replace("\0", " ")):
                found.append(int(entry.name))
    return found


def _workers() -> list[int]:
    """Workers that are at a task of ours: they run in a folder unpacked for it."""
    found = []
    for pid in _found(lambda text: text.startswith("ray::answer")):
        with suppress(OSError):
            if "/hermes-" in os.readlink(f"/proc/{pid}/cwd"):
                found.append(pid)
    return found


@pytest.fixture(scope="module")
def token() -> Iterator[None]:
    """A secret that the clusters of these tests share with who drives them, and nobody else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        yield


@pytest.fixture(scope="module")
def head(token: None) -> Iterator[Head]:
    started = Head()
    yield started
    started.stop()


class TestCluster:
    pytestmark = needs_ray

    def test_the_table_is_that_of_one_process(self, head: Head, compiled: Compiled) -> None:
        """A point that does not compile among them."""
        system = compiled(GRID, arrivals="poisson(rate)")
        hermesdsl.sweep(system, out="here")
        hermesdsl.sweep(system, engine="ray", address=head.address, out="there")
        assert Path("here/sweep.csv").read_bytes() == Path("there/sweep.csv").read_bytes()

    def test_a_worker_that_is_killed(self, head: Head, compiled: Compiled) -> None:
        system = compiled("sweep load.requests in range(3000, 3008)", arrivals="poisson(rate)")
        killed: list[int] = []

        def kill(done: int, total: int) -> None:
            if not killed and (found := _workers()):
                killed.append(found[0])
                os.kill(found[0], signal.SIGKILL)

        found = hermesdsl.sweep(system, engine="ray", address=head.address, out="there",
                                progress=kill)  # fmt: skip
        assert killed
        assert [each.status for each in found.points] == ["done"] * 8
        assert len(Path("there/points.jsonl").read_text().splitlines()) == 8
        hermesdsl.sweep(system, out="here")
        assert Path("here/sweep.csv").read_bytes() == Path("there/sweep.csv").read_bytes()

    def test_a_head_that_is_lost_leaves_a_usable_table(
        self, token: None, compiled: Compiled
    ) -> None:
        own = Head()
        lost: list[bool] = []

        def lose(done: int, total: int) -> None:
            if not lost:
                lost.append(True)
                own.lose()

        system = compiled("sweep load.requests in range(3000, 3200)")
        try:
            with pytest.raises(SpecError, match=r"HMS607: the Ray cluster at .* was lost"):
                hermesdsl.sweep(system, engine="ray", address=own.address, out="kept",
                                progress=lose)  # fmt: skip
        finally:
            own.stop()
        ended = len(Path("kept/points.jsonl").read_text().splitlines())
        assert len(Path("kept/sweep.csv").read_text().splitlines()) == 1 + ended > 1

    def test_an_address_where_nobody_is(self, compiled: Compiled) -> None:
        with pytest.raises(SpecError, match="HMS607: no Ray cluster at"):
            hermesdsl.sweep(compiled("sweep n"), engine="ray", address="127.0.0.1:1")


# --- what travels --------------------------------------------------------------------------------


def test_a_bundle_holds_contents_and_no_path_of_this_machine(
    compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A specification, a file it imports, one from a further folder, and a table of lengths."""
    for name in ("spec/parts", "more", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "spec/parts/rate.hms").write_text("param rate = 2 req/s\n")
    (tmp_path / "more/sizes.hms").write_text("param size = 500 tok\n")
    (tmp_path / "spec/lengths.csv").write_text("n\n11\n12\n")
    system = compiled("sweep n in [1, 3]")
    text = Path("small.hms").read_text().replace("prompt   = 1000 tok", "prompt = size")
    text = text.replace("output   = 11 tok",
                        'output = empirical("lengths.csv", column = "n", unit = tok)')  # fmt: skip
    (tmp_path / "spec/main.hms").write_text(
        "from parts.rate import rate as given\nfrom sizes import size\n" + text
    )
    system = hermesdsl.compile(tmp_path / "spec/main.hms", path=[str(tmp_path / "more")])
    bundle = bundled(system, job_of(system))
    assert sorted(bundle.files) == [
        "path0/sizes.hms", "spec/lengths.csv", "spec/main.hms", "spec/parts/rate.hms",
    ]  # fmt: skip
    assert str(tmp_path) not in repr(bundle.job)
    (point, _) = points(system.experiment().axes)
    row = Runner(job_of(system))(Task(point, 1, "k"))
    monkeypatch.chdir(unpacked(bundle, tmp_path / "elsewhere"))
    for name in ("spec", "more"):
        (tmp_path / name).rename(tmp_path / f"{name}.gone")
    assert {**Runner(bundle.job)(Task(point, 1, "k")), "wall_s": 0} == {**row, "wall_s": 0}
    assert row["status"] == "done"


def test_the_package_travels_with_its_grammar_and_library(tmp_path: Path) -> None:
    package = stage(tmp_path)
    assert (package / "_grammar/hermes.lark").is_file()
    assert (package / "_stdlib/prelude.hms").is_file()
    assert not list(package.rglob("__pycache__"))


def test_without_ray_it_says_what_to_install(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hermesdsl.explore.cluster.find_spec", lambda name: None)
    with pytest.raises(SpecError, match="HMS607: `--engine ray` needs Ray") as caught:
        hermesdsl.sweep(compiled("sweep n"), engine="ray")
    assert caught.value.diagnostics[0].notes == ("help: pip install 'hermesdsl[ray]'",)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"engine": "slurm"}, "no engine `slurm`"), ({"address": "a:1"}, "an address is about"),
     ({"engine": "ray", "workers": 0}, "at least one worker")],
)  # fmt: skip
def test_engines_that_make_no_sense(
    given: dict[str, object], message: str, compiled: Compiled
) -> None:
    with pytest.raises(SpecError, match=message):
        hermesdsl.sweep(compiled("sweep n"), **given)  # type: ignore[arg-type]
