"""What a network reads its input with: one file for each family of encoders."""
