"""Tables of operator times: which operator a file is about, and its rows in SI units, checked.

Knows columns and units of the files; no formula and no device. Recognised are the tables of
AIConfigurator (``gemm_dtype, m, n, k, latency_ms`` and its like), of Vidur (``op, num_tokens,
median_ms`` with the model's widths), the project's own (``operator, dtype, …, seconds``), and
those of messages that `measure.messages` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from hermesdsl.diagnostics import Diagnostic, SpecError, error
from hermesdsl.graph.types import DTYPE_BYTES
from hermesdsl.measure.messages import as_messages

if TYPE_CHECKING:
    import pandas as pd

#: Columns that hold a time, and the seconds of one of theirs.
TIMES: Mapping[str, float] = {
    "seconds": 1.0, "latency_ms": 1e-3, "median_ms": 1e-3, "time_us": 1e-6, "time_ms": 1e-3,
}  # fmt: skip
#: Columns of power, and what they are called here.
_WATTS: Mapping[str, str] = {"power_w": "watts", "power_limit_w": "limit"}
#: How far a reading may lie above the limit: boards regulate with a delay.
OVERSHOOT = 1.2
#: Names that tables use for the dtypes of the language.
DTYPES: Mapping[str, str] = {
    "bfloat16": "bf16", "float16": "fp16", "half": "fp16", "nvfp4": "fp4", "float8": "fp8",
    "float32": "fp32", "fp8_block": "fp8_block",
}  # fmt: skip
#: Vidur's linear layers: rows and columns of the weight, from widths of the model (e: embedding,
#: f: expanded, q and kv: heads times width) over tensor-parallel ways.
_VIDUR = {
    "attn_pre_proj": ("qkv", "e"), "attn_post_proj": ("e", "q"), "mlp_up_proj": ("gf", "e"),
    "mlp_down_proj": ("e", "f"),
}  # fmt: skip
#: What attention tables of AIConfigurator call the coordinates that prompts and decoding share.
_HEADS: Mapping[str, str] = {
    "sequences": "batch_size", "heads": "num_heads", "kv_heads": "num_key_value_heads",
    "width": "head_dim",
}  # fmt: skip


@dataclass(frozen=True)
class Format:
    """How a table of one operator is told from others: its columns, as name here → name there."""

    operator: str
    columns: Mapping[str, str]
    dtype: str
    optional: Mapping[str, str]


FORMATS = (
    Format(
        "moe",
        {
            "tokens": "num_tokens", "hidden": "hidden_size", "width": "inter_size",
            "active": "topk", "experts": "num_experts", "tp": "moe_tp_size",
            "ep": "moe_ep_size",
        },
        "moe_dtype",
        {"distribution": "distribution"},
    ),
    Format("prefill", {"new": "new", "kv": "kv", **{n: n for n in _HEADS}}, "kv_cache_dtype", {}),
    Format("decode", {"context": "context", **{n: n for n in _HEADS}}, "kv_cache_dtype", {}),
    Format("gemm", {"m": "m", "n": "n", "k": "k"}, "gemm_dtype", {}),
    Format(
        "collective", {"members": "members", "bytes": "bytes"}, "dtype",
        {"kind": "kind", "engine": "engine"},
    ),
    Format("copy", {"bytes": "bytes"}, "dtype", {"operator": "operator"}),
)  # fmt: skip


#: Operators of tables of copies: in the device's memory, and over its way to the host.
COPIES = ("device_copy", "host_to_device", "device_to_host")
#: Tables of kernels that `hermes profile` writes: what is left of a folder are copies and messages.
PROFILED = ("gemm", "prefill", "decode")


def tables_in(folder: Path) -> list[Path]:
    """The tables of a folder that `hermes profile` has written. Raises SpecError HMS607 without."""
    found = [path for name in PROFILED if (path := folder / f"{name}.csv").is_file()]
    if not found:
        names = ", ".join(f"{name}.csv" for name in PROFILED)
        note = f"help: `hermes profile` writes {names}; other tables are named one by one"
        raise SpecError([error("HMS607", f"`{folder}` holds no table to fit", notes=[note])])
    return found


@dataclass(frozen=True)
class Table:
    """Rows of one operator from one file.

    `frame` has the columns of the operator's format by their names here, and ``seconds``,
    ``dtype`` and ``system`` (empty where the file says none); ``board``: watts read beside some of
    the times, 0 for none. `power`: it is about the power drawn, with ``watts`` and ``limit`` of the
    board beside.
    """

    operator: str
    frame: pd.DataFrame
    path: str
    power: bool = False


def read_table(path: Path) -> Table:
    """A table of operator times.

    Raises SpecError HMS607 for a file that cannot be read or is none, with line and value where
    one is wrong.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(_finished(path), comment="#")
    except FileNotFoundError:
        raise SpecError([error("HMS607", f"there is no file `{path}`")]) from None
    except (OSError, UnicodeDecodeError, ValueError, EOFError) as problem:
        reason = " ".join(str(problem).split())
        raise SpecError([error("HMS607", f"`{path}` is no table: {reason}")]) from None
    return as_table(frame, path)


def as_table(frame: pd.DataFrame, path: Path) -> Table:
    """The same of rows that were read already; `path` is for messages."""
    import pandas as pd

    if {"op", "num_tokens", "n_embd"} <= set(frame.columns):
        frame = _vidur(frame)
    elif {"isl", "step", *_HEADS.values()} <= set(frame.columns):
        frame = _attention(frame)
    elif (messages := as_messages(frame)) is not None:
        frame = messages
    time = next((name for name in TIMES if name in frame.columns), None)
    chosen = next((f for f in FORMATS if all(_column(f, name, frame) for name in f.columns)), None)
    if chosen is not None and chosen.operator == "copy" and not _of_copies(frame):
        chosen = None
    if time is None or chosen is None:
        raise SpecError([_unknown(path, frame)])
    found = {name: frame[_column(chosen, name, frame)] for name in chosen.columns}
    for name, there in chosen.optional.items():
        if there in frame.columns:
            found[name] = frame[there]
    dtype = chosen.dtype if chosen.dtype in frame.columns else "dtype"
    rows = pd.DataFrame(found)
    rows["dtype"] = frame[dtype].astype(str).replace(dict(DTYPES)) if dtype in frame else "bf16"
    rows["system"] = frame["system"].astype(str) if "system" in frame else ""
    rows["seconds"] = frame[time]
    if "board_w" in frame:
        rows["board"] = pd.to_numeric(frame["board_w"], errors="coerce").fillna(0.0)
    drawn = [there for there in _WATTS if there in frame.columns]
    for there in drawn:
        rows[_WATTS[there]] = frame[there]
    named = {time: "seconds", **{there: _WATTS[there] for there in drawn}}
    problems = _faults(path, rows, chosen, named, frame)
    problems += _odd_power(path, rows, drawn) if not problems else []
    if problems:
        raise SpecError(problems)
    rows["seconds"] = rows["seconds"].astype(float) * TIMES[time]
    return Table(chosen.operator, rows, str(path), power=bool(drawn))


def _of_copies(frame: pd.DataFrame) -> bool:
    return "operator" in frame and bool(frame["operator"].isin(COPIES).all())


def _odd_power(path: Path, rows: pd.DataFrame, drawn: list[str]) -> list[Diagnostic]:
    """What is wrong with columns of power: one of two alone, or more than the limit allows."""
    if not drawn:
        return []
    if len(drawn) < len(_WATTS):
        (missing,) = set(_WATTS) - set(drawn)
        return [error("HMS607", f"`{path}` has `{drawn[0]}` and no `{missing}`",
                      notes=["help: a table of power has both, in watts"])]  # fmt: skip
    above = (rows["watts"] > OVERSHOOT * rows["limit"]).to_numpy()
    if not above.any():
        return []
    at = int(above.argmax())
    watts, limit = rows["watts"].iloc[at], rows["limit"].iloc[at]
    message = f"`{path}` line {at + 2}: `power_w` is {watts:g}, far above the limit of {limit:g} W"
    return [error("HMS607", message)]


def _finished(path: Path) -> Path | BytesIO:
    """A table without its last line, where that was cut off: no end, and columns are missing."""
    if path.suffix != ".csv":
        return path
    data = path.read_bytes()
    header, last = data[: data.find(b"\n") + 1], data[data.rfind(b"\n") + 1 :]
    cut = last and last.count(b",") < header.count(b",")
    return BytesIO(data[: -len(last)]) if cut else path


def _column(form: Format, name: str, frame: pd.DataFrame) -> str:
    """The column of a table that holds `name`: by the format's own name or by the one here."""
    return next((c for c in (form.columns[name], name) if c in frame.columns), "")


def _unknown(path: Path, frame: pd.DataFrame) -> Diagnostic:
    known = [
        f"help: {operator} has dtype, {', '.join(columns)}"
        for operator, columns in {form.operator: form.columns for form in FORMATS}.items()
    ]
    has = ", ".join(map(str, frame.columns[:12]))
    return error("HMS607", f"`{path}` is no table of an operator known here: its columns are {has}",
                 notes=[*known, f"help: and each one of {', '.join(TIMES)}"])  # fmt: skip


def _faults(
    path: Path, rows: pd.DataFrame, form: Format, times: Mapping[str, str], frame: pd.DataFrame
) -> list[Diagnostic]:
    """The first value of each column that is none: sizes and times are above 0."""
    import pandas as pd

    found = []
    shown = {name: _column(form, name, frame) for name in form.columns}
    shown |= {here: there for there, here in times.items()}
    for name, there in shown.items():
        numbers = pd.to_numeric(rows[name], errors="coerce")
        bad = ~((numbers > 0) & (numbers < float("inf")))
        if bad.any():
            at = int(bad.to_numpy().argmax())
            value = rows[name].iloc[at]
            message = f"`{path}` line {at + 2}: `{there}` is {value}, not a number above 0"
            found.append(error("HMS607", message))
        rows[name] = numbers
    wrong = ~rows["dtype"].isin([*DTYPE_BYTES, "fp8_block"])
    if wrong.any():
        at = int(wrong.to_numpy().argmax())
        message = f"`{path}` line {at + 2}: unknown dtype `{rows['dtype'].iloc[at]}`"
        found.append(error("HMS607", message, notes=[f"help: one of {', '.join(DTYPE_BYTES)}"]))
    if not len(rows):
        found.append(error("HMS607", f"`{path}` has no rows"))
    return found


def _vidur(frame: pd.DataFrame) -> pd.DataFrame:
    """The linear layers of a Vidur table as products; other operators are left out."""
    import pandas as pd

    kept = frame[frame["op"].isin(list(_VIDUR))]
    ways = kept["num_tensor_parallel_workers"]
    head = kept["n_embd"] // kept["n_head"]
    widths = {
        "e": kept["n_embd"],
        "f": kept["n_expanded_embd"] // ways,
        "gf": kept["n_expanded_embd"] * (1 + kept["use_gated_mlp"].astype(int)) // ways,
        "q": kept["n_head"] // ways * head,
        "qkv": (kept["n_head"] // ways + 2 * (kept["n_kv_head"] // ways).clip(lower=1)) * head,
    }
    pick = {axis: pd.Series(0, kept.index) for axis in "nk"}
    for op, names in _VIDUR.items():
        for axis, name in zip("nk", names, strict=True):
            pick[axis] = pick[axis].where(kept["op"] != op, widths[name])
    return pd.DataFrame(
        {"m": kept["num_tokens"], "n": pick["n"], "k": pick["k"], "gemm_dtype": "fp16",
         "system": kept["device"], "median_ms": kept["median_ms"]}
    )  # fmt: skip


def _attention(frame: pd.DataFrame) -> pd.DataFrame:
    """Attention by the coordinates used here: decoding if every row has one new token after some.

    `kv`: tokens of KV that a sequence reads, cached (`step`) and new (`isl`).
    """
    found = frame.rename(columns={there: here for here, there in _HEADS.items()})
    both = frame["isl"] + frame["step"]
    if ((frame["isl"] == 1) & (frame["step"] > 0)).all():
        return found.assign(context=both)
    return found.assign(new=frame["isl"], kv=both)


def of_system(table: Table, system: str | None) -> Table:
    """The rows of one system; without a name the table must hold only one.

    Raises SpecError HMS607 for a name it has not, or for several systems without a name.
    """
    from hermesdsl.diagnostics.nearest import suggestion

    known = sorted(set(table.frame["system"]))
    if system is None and len(known) == 1:
        return table
    if system in known:
        kept = table.frame[table.frame["system"] == system].reset_index(drop=True)
        return Table(table.operator, kept, table.path, table.power)
    names = ", ".join(known)
    if system is None:
        message = f"`{table.path}` holds several systems: {names}"
        raise SpecError([error("HMS607", message, notes=["help: choose one with --system"])])
    notes = suggestion(system, known) or (f"help: it has {names}",)
    raise SpecError([error("HMS607", f"`{table.path}` has no system `{system}`", notes=notes)])
