"""Traffic on the hardware graph: ways between groups of parts, links shared by fluid flows."""
