"""Hardware, pipelines and placement as NetworkX graphs, and what can be asked of them."""
