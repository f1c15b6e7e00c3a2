"""Is it well: metrics, logs."""
