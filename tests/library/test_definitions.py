"""Every definition of the library can be imported and used; what cannot be used says so."""

import re
from pathlib import Path

import pytest

from hermesdsl.diagnostics import Sink
from hermesdsl.model.elaborate import elaborate

STDLIB = Path(__file__).parents[2] / "stdlib"
MODULES = sorted(p for p in STDLIB.rglob("*.hms") if p.name != "prelude.hms")
DEFINITION = re.compile(r"^(\w+) (\w+)(?: extends [\w.]+)? *\{", re.M)
#: Files that only pass on what others define.
INDEXES = [p for p in MODULES if not DEFINITION.search(p.read_text(encoding="utf-8"))]
IMPORTED = re.compile(r"^from \S+ +import (.+)$", re.M)
UNUSED = "HMS211"

#: What makes a program use a definition of each kind; `m` is the module.
USE = {
    "link": "assert m.{name}.bandwidth >= 1 GB/s\n",
    "model": "assert m.{name}.weights >= 1 MB and m.{name}.kv_per_token >= 1 KiB\n",
    "client": "on_{name}: H100\nx_{name}: m.{name} on on_{name} {{ model = L }}\n",
    "calibration": "chip C_{name} extends H100 {{ calibration = m.{name} }}\nx_{name}: C_{name}\n",
    "profile": "profile x_{name} extends m.{name} {{ gap = 1 ms }}\n",
    "workload": "workload x_{name} extends m.{name} {{ pipeline = chat }}\n",
}
INSTANCE = "x_{name}: m.{name}\n"
CHAT = """\
from std.nvidia.hopper import H100, DGX_H100
from std.models.llama import Llama3_1_8B as L
gpu[2]: H100
one: LlmEngine on gpu[0] { model = L }
two: LlmEngine on gpu[1] { model = L }
chat: Chat { llm = one }
"""


def module(path: Path) -> str:
    name = ".".join(path.relative_to(STDLIB).with_suffix("").parts)
    return f"std.{name.removesuffix('.index')}"


def problems(text: str) -> list[str]:
    """Codes and messages of everything but unused names."""
    sink = Sink()
    elaborate("program.hms", sink=sink, text=text)
    return [f"{d.code} {d.message}" for d in sink.items if d.code != UNUSED]


@pytest.mark.parametrize("path", MODULES, ids=module)
def test_every_definition_can_be_used(path):
    text = path.read_text(encoding="utf-8")
    uses = [USE.get(kind, INSTANCE).format(name=name) for kind, name in DEFINITION.findall(text)]
    assert problems(f"{CHAT}import {module(path)} as m\n{''.join(uses)}") == []


@pytest.mark.parametrize("path", INDEXES, ids=module)
def test_an_index_passes_on_what_it_imports(path):
    text = path.read_text(encoding="utf-8")
    names = ", ".join(IMPORTED.findall(text))
    assert problems(f"from {module(path)} import {names}\n") == []


@pytest.mark.parametrize(
    "settings",
    [
        "llm = one",
        "prefill = one; decode = two",
        "prefill = one; decode = two; transfer = layerwise",
        "llm = one; decode = two",
    ],
)
def test_chat_takes_one_pool_or_two(settings):
    assert problems(f"{CHAT}other: Chat {{ {settings} }}\n") == []


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("other: Chat { }", "HMS207"),                          # no pool at all
        ("other: Chat { llm = gpu[0] }", "HMS303"),             # a GPU is not an engine
        ("other: CachedChat { llm = one }", "HMS207"),          # no cache
        ("box: DGX_H100 { gpus = 16 }", "HMS401"),              # 16 x 700 W > 10.2 kW
        ("box: DGX_H100 { accel = L }", "HMS303"),              # a model is not a chip
        ("from std.nvidia.ampere import H100 as X; x: X", "HMS2"),    # stands in another module
        ("from std.nvidia.pascal import P100", "HMS2"),
    ],
)  # fmt: skip
def test_wrong_uses_are_told(program, code):
    found = problems(f"{CHAT}{program}\n")
    assert found
    assert found[0].startswith(code)
