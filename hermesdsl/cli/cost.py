"""``hermes cost --chip C --model M``: what one engine step takes, operator by operator."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from hermesdsl.cli import options
from hermesdsl.cli.output import Output
from hermesdsl.diagnostics import Diagnostic, SpecError, error

if TYPE_CHECKING:
    from hermesdsl.cost.llm import DataSheetCost
    from hermesdsl.cost.operator import Operator
    from hermesdsl.cost.types import StepWork

_COUNT = click.IntRange(min=1)


@click.command("cost", short_help="The operators of one step on a chip, from a model's shape.")
@click.option("--chip", required=True, help="A chip of the library, or FILE.hms:NAME.")
@click.option("--model", required=True, help="A model of the library, or FILE.hms:NAME.")
@click.option("--tp", type=_COUNT, default=1, show_default=True, help="Tensor-parallel ways.")
@click.option("--ep", type=_COUNT, default=1, show_default=True, help="Expert-parallel ways.")
@click.option("--dtype", help="Type of the weights, if not the model's own.")
@click.option("--node", metavar="NAME", help="A node to take the links from, for several chips.")
@click.option("--prefill", type=click.IntRange(min=0), default=0, help="Prompt tokens of the step.")
@click.option("--decode", type=click.IntRange(min=0), default=0, help="Sequences that decode.")
@click.option(
    "--context", type=_COUNT, default=1024, show_default=True,
    help="Tokens that each decoding sequence reads.",
)  # fmt: skip
@click.option("--profile", default="vllm", show_default=True, help="Engine profile.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, in SI units.")
@options.quiet
def command(
    chip: str,
    model: str,
    tp: int,
    ep: int,
    dtype: str | None,
    node: str | None,
    prefill: int,
    decode: int,
    context: int,
    profile: str,
    as_json: bool,
    quiet: bool,
) -> int:
    """Print the operators of one step: times, FLOPs, bytes, bound, utilisation, rung.

    Without --prefill and --decode, the step decodes for one sequence.
    """
    from hermesdsl.cost.types import StepWork

    output = Output(quiet=quiet)
    if not prefill and not decode:
        decode = 1
    cost = _engine(chip, model, tp, ep, dtype, node, profile)
    work = StepWork(
        tokens=prefill + decode, sampled=decode + (prefill > 0),
        prefills=int(prefill > 0), prefill_tokens=prefill,
        prefill_pairs=0.5 * prefill * (prefill + 1), prefill_kv=float(prefill),
        decodes=decode, decode_context=float(decode * context),
    )  # fmt: skip
    rows = [_row(cost, op) for op in cost.breakdown(work)]
    if as_json:
        output.write(json.dumps(_summary(cost, work, rows), indent=2) + "\n")
    else:
        _show(output, cost, work, rows)
    _unmeasured(output, cost)
    return 0


def _engine(
    chip: str, model: str, tp: int, ep: int, dtype: str | None, node: str | None, profile: str
) -> DataSheetCost:
    """One engine on as many chips as it needs, wired as a node of the library wires them."""
    from hermesdsl.api import compile
    from hermesdsl.cost import engine_cost
    from hermesdsl.library.find import imported, node_of

    part, chip_name, chip_folder = imported(chip, ("chip", "cpu"))
    served, model_name, model_folder = imported(model, ("model",))
    lines = dict.fromkeys((part, served))
    count = max(tp, ep)
    where = f"box: {chip_name}"
    on = "box"
    if count > 1:
        chosen = node or node_of(chip_name)
        if chosen is None:
            note = "help: name one whose chips it can be with --node, such as `--node DGX_H100`"
            message = f"no node of the library has `{chip_name}`: links are not known"
            raise SpecError([error("HMS607", message, notes=[note])])
        line, node_name, _ = imported(chosen, ("node", "rack"))
        lines[line] = None
        accel = "" if node is None else f" {{ accel = {chip_name} }}"
        where, on = f"box: {node_name}{accel}", f"box.gpu[0:{count}]"
    settings = f"model = {model_name}; tp = {tp}; ep = {ep}; profile = {profile}"
    settings += f"; dtype = {dtype}" if dtype else ""
    text = "\n".join([*lines, where, f"llm: LlmEngine on {on} {{ {settings} }}", ""])
    try:
        system = compile(text, path=[str(chip_folder), str(model_folder)])
    except SpecError as found:
        asked = (f"note: asked for {count} devices of `{node_name}`",) if count > 1 else ()
        raise SpecError(_untied(found.diagnostics, asked)) from None
    return engine_cost(system.placement.nodes["llm"]["client"])


def _untied(found: Iterable[Diagnostic], asked: tuple[str, ...]) -> Iterator[Diagnostic]:
    """Errors without their places in a text that nobody has written."""
    for each in found:
        if each.is_error and each.span is not None and each.span.source.path is None:
            yield replace(each, span=None, labels=(), notes=(*each.notes, *asked))
        elif each.is_error:
            yield each


def _row(cost: DataSheetCost, op: Operator) -> dict[str, Any]:
    """One line of the table, in SI units; utilisation of what bounds it, None without work."""
    device = cost.attention_device if op.name.startswith("attention ") and op.name != (
        "attention out") else cost.device  # fmt: skip
    used = None
    if op.wire:
        used = op.wire / op.seconds
    elif op.seconds > 0 and (op.flops or op.bytes):
        used = max(op.flops / device.peak, op.bytes / device.bandwidth) / op.seconds
    return {
        "operator": op.name, "count": op.count, "seconds": op.seconds,
        "total_s": op.count * op.seconds, "flops": op.flops, "bytes": op.bytes,
        "bound": op.bound, "utilisation": used, "rung": op.rung,
    }  # fmt: skip


def _summary(cost: DataSheetCost, work: StepWork, rows: list[dict[str, Any]]) -> dict[str, Any]:
    from hermesdsl.cost.provenance import RUNGS

    total = sum(row["total_s"] for row in rows)
    shares = {rung: sum(row["total_s"] for row in rows if row["rung"] == rung) / total
              for rung in RUNGS}  # fmt: skip
    part = cost.group.part
    return {
        "chip": part.type_name, "model": cost.model.name, "tp": cost.group.tp,
        "ep": cost.group.ep, "tokens": work.tokens, "seconds": total, "provenance": shares,
        "calibration": part.calibration.name if part.calibration else None, "operators": rows,
    }  # fmt: skip


def _unmeasured(output: Output, cost: DataSheetCost) -> None:
    """Says so where neither the chip nor anything of its class was measured."""
    from hermesdsl.cost.classes import class_name

    part = cost.group.part
    if part.calibration is None and class_name(part, cost.group.memory_bandwidth) is None:
        output.note(
            f"no kernel of `{part.type_name}` or of a class like it was measured: it takes "
            "the efficiencies that other accelerators have in common"
        )


def _show(output: Output, cost: DataSheetCost, work: StepWork, rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from hermesdsl.cli import figures

    summary = _summary(cost, work, rows)
    table = Table(box=None, pad_edge=False)
    for name in ("operator", "times", "each", "total", "FLOP", "bytes", "bound", "used", "rung"):
        right = name not in ("operator", "bound", "rung")
        table.add_column(name, justify="right" if right else "left")
    for row in rows:
        used = row["utilisation"]
        table.add_row(
            row["operator"], f"{row['count']:g}", figures.time(row["seconds"]),
            figures.time(row["total_s"]), f"{row['flops']:.3g}" if row["flops"] else "",
            f"{row['bytes']:.3g}" if row["bytes"] else "", row["bound"],
            "" if used is None else f"{used:.0%}", row["rung"],
        )  # fmt: skip
    shares = ", ".join(f"{share:.0%} {rung}" for rung, share in summary["provenance"].items()
                       if share)  # fmt: skip
    output.show(table)
    ways = f", tp {cost.group.tp}" if cost.group.tp > 1 else ""
    output.write(
        f"\n{cost.model.name} on {summary['chip']}{ways}: "
        f"{figures.time(summary['seconds'])} for {work.tokens} tokens; {shares}\n"
    )
