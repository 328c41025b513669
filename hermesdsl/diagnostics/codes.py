"""Every diagnostic code with its title. Tests hold each to at least one failing golden case."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CODES: Mapping[str, str] = MappingProxyType(
    {
        # 1xx: syntax and files
        "HMS101": "unexpected text",
        "HMS102": "unclosed bracket or string",
        "HMS103": "malformed number or quantity",
        "HMS104": "file cannot be read as a specification",
        "HMS105": "nesting or size budget exceeded",
        "HMS106": "statement not allowed here",
        # 2xx: names and modules
        "HMS201": "unknown name",
        "HMS202": "name declared twice",
        "HMS203": "module not found",
        "HMS204": "import cycle",
        "HMS205": "path leaves the folders that may be read",
        "HMS206": "unknown property",
        "HMS207": "required value missing",
        "HMS208": "value depends on itself",
        "HMS209": "conflicting values",
        "HMS210": "value cannot be set here",
        "HMS211": "unused definition or param",
        # 3xx: units and types
        "HMS301": "dimensions differ",
        "HMS302": "unknown unit",
        "HMS303": "wrong type",
        "HMS304": "arithmetic error",
        "HMS305": "unknown function or argument",
        "HMS306": "value outside its domain",
        "HMS307": "value budget exceeded",
        # 4xx: topology, placement, memory
        "HMS401": "assertion failed",
        "HMS402": "selector matches nothing",
        "HMS403": "index out of range",
        "HMS404": "bad connection",
        "HMS405": "bad placement",
        "HMS406": "devices shared or split without consent",
        "HMS407": "model does not fit",
        "HMS408": "no route",
        "HMS409": "ports or power exceeded",
        "HMS410": "topology budget exceeded",
        "HMS411": "precision without a peak",
        "HMS412": "collectives that meet on a link",
        # 5xx: pipelines
        "HMS501": "stages or tiers form no way from input to output",
        "HMS502": "bad branch",
        "HMS503": "ambiguous join",
        "HMS504": "stage without the KV or documents it reads",
        "HMS505": "stage on the wrong client",
        "HMS506": "stage, policy or option not executable yet",
        # 6xx: experiments, workloads, traces
        "HMS601": "bad workload",
        "HMS602": "bad experiment",
        "HMS603": "malformed trace",
        "HMS604": "bad goal or metric",
        "HMS605": "offered load above capacity",
        "HMS606": "default experiment used",
        "HMS607": "bad argument",
        "HMS608": "output folder refused",
        "HMS609": "plug-in not usable",
        # 7xx: runs
        "HMS701": "run that never ends",
    }
)
