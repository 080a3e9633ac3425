"""Matrix functions that several packages share; independent of the system types."""
