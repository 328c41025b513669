"""Tables of messages between devices of one node, and the fits of a calibration to them.

Recognised are the tables of AIConfigurator for NCCL (``op_name, nccl_dtype, num_gpus,
message_size``) and for vLLM's own all-reduce (``backend, allreduce_dtype, …``), those of Vidur
(``collective, num_workers, devices_per_node, size_bytes``), and the project's own (``operator,
members, bytes``). Knows columns; no formula.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from hermesdsl.cost.constants import VLLM, Efficiencies
from hermesdsl.measure.collective import Fitted, fit_collective
from hermesdsl.schema.calibration import COLLECTIVES

if TYPE_CHECKING:
    import pandas as pd

    from hermesdsl.graph.types import Fabric

#: What tables call the sorts of message known here, where they use other names.
_KINDS: Mapping[str, str] = {"alltoall": "all_to_all", "send_recv": "p2p"}
#: Bytes of one element, where sizes are counted in elements.
_ELEMENTS: Mapping[str, float] = {"half": 2.0, "bfloat16": 2.0, "int8": 1.0, "float": 4.0}
#: Rows that a calibration speaks of: messages of 16-bit values, launched from captured graphs.
_WIDE = ("half", "bfloat16")
_GRAPH = "vllm_graph"


def as_messages(frame: pd.DataFrame) -> pd.DataFrame | None:
    """A table with ``kind, members, bytes`` beside its other columns; None if it is about none.

    Rows of one node and of kinds that a calibration knows; ``engine`` says which are of the
    all-reduce that an engine brings along.
    """
    has = set(frame.columns)
    if {"num_gpus", "message_size"} <= has and has & {"nccl_dtype", "allreduce_dtype"}:
        name = "nccl_dtype" if "nccl_dtype" in has else "allreduce_dtype"
        kind = frame["op_name"] if "op_name" in has else "all_reduce"
        size = frame["message_size"] * frame[name].map(dict(_ELEMENTS))
        found = frame.assign(kind=kind, members=frame["num_gpus"], bytes=size, dtype="bf16")
        chosen = frame[name].isin(_WIDE)
        if "backend" in has:
            chosen &= frame["backend"] == _GRAPH
    elif {"collective", "num_workers", "devices_per_node", "size_bytes"} <= has:
        found = frame.assign(
            kind=frame["collective"], members=frame["num_workers"], bytes=frame["size_bytes"],
            system=frame["network"] if "network" in has else "", dtype="bf16",
        )  # fmt: skip
        chosen = frame["num_workers"] == frame["devices_per_node"]
    elif {"operator", "members", "bytes"} <= has:
        found = frame.assign(kind=frame["operator"])
        chosen = frame["operator"].notna()
    else:
        return None
    found["kind"] = found["kind"].replace(dict(_KINDS))
    found["engine"] = "backend" in has
    return found[chosen & found["kind"].isin(COLLECTIVES)].reset_index(drop=True)


def fit_messages(
    frames: Iterable[pd.DataFrame], link: Fabric, efficiencies: Efficiencies
) -> dict[str, Fitted]:
    """A fit for every kind of message, in the order of `COLLECTIVES`.

    `frames` as of `as_messages`, with ``seconds``; `efficiencies` of the devices over that link
    (`cost.classes.class_links`). Where there is an engine's own all-reduce, that
    of NCCL is left out.
    """
    import pandas as pd

    whole = pd.concat(list(frames), ignore_index=True)
    found = {}
    for kind in COLLECTIVES:
        rows = whole[whole["kind"] == kind]
        if rows["engine"].any():
            rows = rows[rows["engine"]]
        if len(rows):
            columns = {name: rows[name].to_numpy(np.float64)
                       for name in ("members", "bytes", "seconds")}  # fmt: skip
            found[kind] = fit_collective(kind, link, efficiencies, VLLM.overheads, columns)
    return found
