"""The contract of every verb: exit codes, streams, faults, what is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hermesdsl
from hermesdsl import __version__, api
from hermesdsl.cli.app import VERBS, run


def test_help_names_every_verb_and_the_exit_codes(hermes: Any) -> None:
    outcome = hermes("--help")
    assert outcome.code == 0
    assert outcome.err == ""
    for verb in VERBS:
        assert f"\n  {verb} " in outcome.out
    assert "Exit codes: 0 fine, 1" in outcome.out


def test_nothing_to_do_is_help(hermes: Any) -> None:
    assert hermes() == hermes("--help")


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help(hermes: Any, verb: str) -> None:
    outcome = hermes(verb, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"Usage: hermes {verb} ")


def test_version(hermes: Any) -> None:
    assert hermes("--version") == (0, f"hermes {__version__}\n", "")


def test_help_loads_no_heavy_library() -> None:
    heavy = {"lark", "networkx", "numpy", "pandas", "rich", "graphviz", "wasmtime"}
    program = (
        "import sys; from hermesdsl.cli.app import run; run(['--help']);"
        f"sys.exit(', '.join({heavy!r} & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- arguments that are wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu", "small.hms"], "no verb `rnu`\n = help: did you mean `run`?"),
        (["xyzzy"], "no verb `xyzzy`\n = help: verbs are run, sweep, sensitivity, check, fmt, "),
        (["--verison"], "no such option `--verison`"),
        (["run"], "missing argument `SPEC`\n = help: `hermes run --help` lists what it takes"),
        (["run", "small.hms", "other.hms"], "got unexpected extra argument (other.hms)"),
        (["run", "small.hms", "--jsn"], "no such option `--jsn`"),
        (["run", "small.hms", "--set"], "option `--set` requires an argument"),
        (["check"], "missing argument `SPEC...`"),
        (["fmt"], "missing argument `SPEC...`"),
        (["explain", "small.hms"], "missing argument `PATH`"),
    ],
)
def test_arguments_that_click_refuses(
    hermes: Any, files: Any, arguments: list[str], message: str
) -> None:
    outcome = hermes(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("error[HMS607]: ")
    assert message in outcome.err
    assert outcome.err.endswith("1 error\n")
    assert files() == ["small.hms"]


def test_an_option_that_was_nearly_right(hermes: Any) -> None:
    near = "help: did you mean `--case` or `--seed` or `--set`?"
    assert near in hermes("run", "small.hms", "--sed").err


# --- faults ------------------------------------------------------------------------------------


def _failing(failure: BaseException) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    return fail


def test_a_fault_of_ours_is_one_line_and_a_hint(
    hermes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "run", _failing(ZeroDivisionError("float division\nby zero")))
    outcome = hermes("run", "small.hms", "--quiet")
    assert outcome.code == 3
    assert outcome.out == ""
    assert outcome.err == (
        "error: the run failed: ZeroDivisionError: float division by zero\n"
        "help: this is a fault in hermes; HERMES_TRACEBACK=1 shows where\n"
    )


def test_the_traceback_is_there_for_those_who_ask(
    hermes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERMES_TRACEBACK", "1")
    monkeypatch.setattr(api, "run", _failing(ZeroDivisionError("by zero")))
    with pytest.raises(ZeroDivisionError, match=r"^by zero$"):
        hermes("run", "small.hms")


def test_a_full_disk_is_no_fault_of_ours(hermes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "run", _failing(OSError(28, "No space left on device")))
    outcome = hermes("run", "small.hms", "-q")
    assert outcome == (3, "", "error: the run failed: No space left on device\n")


def test_interrupting_is_quiet(hermes: Any, files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "run", _failing(KeyboardInterrupt()))
    outcome = hermes("run", "small.hms", "-q", "--out", "results")
    assert outcome.code == 130
    assert (outcome.out, outcome.err.strip()) == ("", "")
    assert files() == ["small.hms"]


# --- processes ---------------------------------------------------------------------------------


def _process(arguments: list[str], cwd: Path, **more: str) -> subprocess.Popen[str]:
    package = Path(hermesdsl.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-m", "hermesdsl", *arguments],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(package), **more},
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [["--help"], ["check", "nothing.hms", "--format", "json"]])
def test_a_closed_pipe_is_quiet(arguments: list[str], tmp_path: Path) -> None:
    process = _process(arguments, tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 141


def test_the_exit_code_reaches_the_shell(tmp_path: Path) -> None:
    process = _process(["check", "nothing.hms"], tmp_path)
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err == "error[HMS104]: nothing.hms does not exist\n1 error\n"


def test_a_terminal_that_cannot_show_a_name(tmp_path: Path) -> None:
    process = _process(["check", "µ.hms"], tmp_path, PYTHONIOENCODING="ascii")
    assert process.communicate() == ("", "error[HMS104]: ?.hms does not exist\n1 error\n")


def test_arguments_default_to_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hermes", "--version"])
    assert run() == 0
    assert capsys.readouterr().out == f"hermes {__version__}\n"
