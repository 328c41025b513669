"""The command ``hermes``: finds the verb and turns whatever goes wrong into an exit code.

A verb's module is loaded when it is used; none of them imports anything heavy at its top.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

import click

from hermesdsl import __version__
from hermesdsl.cli.output import Output
from hermesdsl.diagnostics import Diagnostic, SpecError, error
from hermesdsl.diagnostics.nearest import suggestion

#: Every verb; its command is `command` in the module of that name.
VERBS = (
    "run", "sweep", "sensitivity", "check", "fmt", "explain", "draw", "cost", "profile",
    "calibrate", "validate", "doc",
)  # fmt: skip

FINE, MISSED, WRONG, FAILED = 0, 1, 2, 3
#: By custom 128 + the number of the signal that ended it.
INTERRUPTED, PIPE_CLOSED = 130, 141


class _Verbs(click.Group):
    """The verbs, loaded by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of a first session."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name; raises `SpecError` HMS607 if there is none."""
        if cmd_name in VERBS:
            verb: click.Command = import_module(f"hermesdsl.cli.{cmd_name}").command
            return verb
        if cmd_name.startswith("-"):
            return None
        notes = suggestion(cmd_name, VERBS) or (f"help: verbs are {', '.join(VERBS)}",)
        raise SpecError([error("HMS607", f"no verb `{cmd_name}`", notes=notes)])


@click.group(
    cls=_Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="hermes", message="%(prog)s %(version)s")
@click.pass_context
def hermes(ctx: click.Context) -> None:
    """Describe an LLM-serving system in a .hms file; check, draw and simulate it.

    Exit codes: 0 fine, 1 a requirement was missed (--strict) or a file would change
    (fmt --check), 2 the specification or the arguments are wrong, 3 the run failed.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of this process); its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show µ shows ?
    try:
        code = _outcome(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence()
        return PIPE_CLOSED
    return code


def _outcome(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    output = Output()
    try:
        return hermes.main(args=given, prog_name="hermes", standalone_mode=False) or FINE
    except SpecError as failure:
        output.report(failure.diagnostics)
        return WRONG
    except click.UsageError as failure:
        output.report([_usage(failure)])
        return WRONG
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except SystemExit:  # what click makes of a closed pipe when it need not exit by itself
        _silence()
        return PIPE_CLOSED
    except Exception as failure:
        if os.environ.get("HERMES_TRACEBACK"):
            raise
        output.fault(failure)
        return FAILED


def _usage(failure: click.UsageError) -> Diagnostic:
    """What click has to say about the arguments, as a diagnostic."""
    text = failure.format_message() or "bad arguments"
    text = re.sub(r"'([^']*)'", r"`\1`", text)
    main, *hint = re.split(r" \(?Did you mean (?:one of: )?", text)
    main = main.rstrip(".")
    notes = [f"help: did you mean {hint[0].rstrip('?)').replace(', ', ' or ')}?"] if hint else []
    verb = failure.ctx.command_path if failure.ctx is not None else "hermes"
    notes.append(f"help: `{verb} --help` lists what it takes")
    return error("HMS607", main[0].lower() + main[1:], notes=notes)


def _silence() -> None:
    """Point standard output nowhere, so that flushing it at exit does not fail again."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
