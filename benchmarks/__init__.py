"""Speed, as CPU seconds and as ratios to a fixed loop timed in the same process."""
