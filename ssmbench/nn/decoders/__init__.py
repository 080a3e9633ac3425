"""The decoders, which map features to a network's prediction: one file for each family."""
