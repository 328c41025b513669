"""What the language and its library hold, for readers: generated reference pages."""
