"""The encoders, which map a network's input to features: one file for each family."""
