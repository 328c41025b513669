"""From syntax trees to a checked instance tree: imports, names, values, members, checks."""
