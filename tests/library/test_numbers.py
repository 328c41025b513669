"""Numbers of the library that others vouch for: sums of a model's sizes, tables of data sheets.

Reads the syntax tree only.
"""

import csv
from pathlib import Path

import pytest

from hermesdsl.source import Source
from hermesdsl.syntax import ast
from hermesdsl.syntax.parse import parse
from hermesdsl.units import table as units

ROOT = Path(__file__).parents[2]
STDLIB = ROOT / "stdlib"
SYSTEMS = ROOT / "../shared/data/aiconfigurator/systems.csv"
FILES = sorted(STDLIB.rglob("*.hms"))


def tree(path: Path) -> ast.File:
    name = path.relative_to(STDLIB).as_posix()
    parsed = parse(Source(name, path.read_text(encoding="utf-8")))
    assert [str(d) for d in parsed.diagnostics] == []
    return parsed.file


def definitions(kind: str) -> dict[str, ast.Definition]:
    return {
        statement.name: statement
        for path in FILES
        for statement in tree(path).statements
        if isinstance(statement, ast.Definition) and statement.kind == kind
    }


def literal(value: ast.Expr) -> float | str | bool:
    match value:
        case ast.Number(value=number) | ast.QuantityLiteral(value=number):
            return number
        case ast.Boolean(value=flag):
            return flag
        case ast.Name(name=name):
            return name
    raise AssertionError(f"a library value should be a literal: {value}")


def sizes(name: str, models: dict[str, ast.Definition]) -> dict[str, float | str | bool]:
    """Properties of a model, those of its base included."""
    model = models[name]
    own = {
        statement.target.name: literal(statement.value)
        for statement in model.block.statements
        if isinstance(statement, ast.Assign)
    }
    base = sizes(model.base.name, models) if isinstance(model.base, ast.Name) else {}
    return {**base, **own}


def attention(m: dict) -> float:
    """Weights of one layer's attention."""
    hidden, heads, width = m["hidden"], m["heads"], m["head_dim"]
    latent = m.get("kv_lora_rank", 0)
    if not latent:
        return 2 * hidden * heads * width + 2 * hidden * m["kv_heads"] * width
    rope, value, rank = m["rope_head_dim"], m["value_head_dim"], m.get("q_lora_rank", 0)
    query = (hidden + heads * (width + rope)) * rank if rank else hidden * heads * (width + rope)
    return (
        query
        + hidden * (latent + rope)            # down to the latent and the shared rotary key
        + latent * heads * (width + value)    # up to keys and values
        + heads * value * hidden              # output projection
    )  # fmt: skip


def architecture(m: dict) -> float:
    """Weights that the sizes add up to; norms and biases left out (under 0.2 %)."""
    layers, hidden = m["layers"], m["hidden"]
    matrices = 3 if m.get("gated", True) else 2
    experts = m.get("experts", 0)
    dense = m.get("dense_layers", 0) if experts else layers
    each = experts + m.get("shared_experts", 0)
    moe = each * matrices * hidden * m.get("expert_ffn", 0) + hidden * experts  # and the router
    embeddings = m["vocab"] * hidden * (1 if m.get("tied_embeddings") else 2)
    encoder = (
        hidden * (m["max_context"] + hidden) if m.get("kind") == "encoder" else 0
    )  # learned positions and a pooler
    return (
        layers * attention(m)
        + dense * matrices * hidden * m["ffn"]
        + (layers - dense) * moe
        + embeddings
        + encoder
    )


MODELS = definitions("model")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_parameters_are_what_the_sizes_add_up_to(name):
    model = sizes(name, MODELS)
    assert architecture(model) == pytest.approx(model["parameters"], rel=2e-3)


@pytest.mark.parametrize(
    ("name", "kib"),
    [
        # layers x 2 x kv_heads x head_dim x 2 bytes
        ("Llama3_1_8B", 128),
        ("Llama3_1_70B", 320),
        ("Qwen3_32B", 256),
        ("Qwen3_30B_A3B", 96),
        ("BLOOM_176B", 3920),
        # layers x (512 + 64) x 2 bytes, arXiv 2412.19437
        ("DeepSeek_V3", 68.625),
    ],
)
def test_kv_per_token(name, kib):
    m = sizes(name, MODELS)
    latent = m.get("kv_lora_rank", 0)
    width = latent + m["rope_head_dim"] if latent else 2 * m["kv_heads"] * m["head_dim"]
    assert m["layers"] * width * 2 / 1024 == kib


@pytest.mark.parametrize(
    ("name", "billions"),
    # what the papers call active, embeddings included
    [
        ("Mixtral_8x7B", 12.9),
        ("Qwen3_30B_A3B", 3.3),
        ("Qwen3_235B_A22B", 22),
        ("DeepSeek_V3", 37),
        ("Llama4_Scout", 17),
        ("Llama4_Maverick", 17),
        ("Qwen3_Coder_480B_A35B", 35),
        ("Kimi_K2", 32.6),
    ],
)
def test_active_parameters(name, billions):
    m = sizes(name, MODELS)
    idle = m["experts"] - m["experts_active"]
    rest = (m["layers"] - m.get("dense_layers", 0)) * idle * 3 * m["hidden"] * m["expert_ffn"]
    assert (m["parameters"] - rest) / 1e9 == pytest.approx(billions, rel=0.02)


def test_a_wrong_size_would_be_found():
    model = sizes("Llama3_1_8B", MODELS) | {"ffn": 11_008}
    assert architecture(model) != pytest.approx(model["parameters"], rel=1e-2)


CHIPS = definitions("chip")
#: Rows of the systems table, and what it says otherwise with good reason.
VOUCHED = {
    "A100_80GB": "a100_sxm",
    "A100_80GB_PCIe": "a100_pcie",
    "A30": "a30",
    "B200": "b200_sxm",
    "GB200": "gb200",
    "H100": "h100_sxm",
    "H100_PCIe": "h100_pcie",
    "H200": "h200_sxm",
    "L4": "l4",
    "L40S": "l40s",
    "RTX_PRO_6000": "rtx_pro_6000_server",
}
EXCEPTIONS = {
    ("RTX_PRO_6000", "gpu.mem_bw"),  # the table has the Workstation Edition's 1792 GB/s
    ("L40S", "gpu.mem_capacity"),  # the table has what ECC leaves, 45 of 48 GiB
}


def chip(name: str) -> dict[str, float]:
    """Peaks (FLOP/s), power (W), memory (byte, byte/s) of a chip, under the table's names."""
    definition = CHIPS[name]
    found = chip(definition.base.name) if isinstance(definition.base, ast.Name) else {}
    columns = {"bf16": "gpu.bfloat16_tc_flops", "fp8": "gpu.fp8_tc_flops",
               "int8": "gpu.int8_tc_flops", "fp4": "gpu.fp4_tc_flops"}  # fmt: skip
    for statement in definition.block.statements:
        match statement:
            case ast.Assign(target=ast.Attribute(name=dtype), value=value) if dtype in columns:
                found[columns[dtype]] = value.value * units.find(value.unit).factor
            case ast.Assign(target=ast.Name(name="power"), value=value):
                found["gpu.power"] = value.value
            case ast.InstanceDecl(block=block) | ast.Reopen(block=block):
                columns_of = {"capacity": "gpu.mem_capacity", "bandwidth": "gpu.mem_bw"}
                for inner in block.statements:
                    quantity = inner.value
                    size = quantity.value * units.find(quantity.unit).factor
                    found[columns_of[inner.target.name]] = size
    return found


@pytest.mark.parametrize("name", VOUCHED)
def test_chips_agree_with_the_systems_table(name):
    """Within 1 %: the table holds the memory that the driver reports, under the nominal GiB."""
    if not SYSTEMS.exists():
        pytest.skip("needs systems.csv beside the checkout")
    with SYSTEMS.open() as file:
        row = next(row for row in csv.DictReader(file) if row["system"] == VOUCHED[name])
    for column, value in chip(name).items():
        if row[column] and (name, column) not in EXCEPTIONS:
            assert value == pytest.approx(float(row[column]), rel=0.01), column
