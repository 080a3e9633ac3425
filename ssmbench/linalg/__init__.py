"""Matrix functions that several rooms share; knows nothing of systems."""
