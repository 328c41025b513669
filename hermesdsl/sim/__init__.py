"""The event-driven interpreter: `sim.run.simulate` runs a compiled system on offered requests."""
