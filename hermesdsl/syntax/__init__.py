"""Text to syntax tree and back; see `parse`, `ast` and `format`."""
