"""What a network makes its prediction with: one file for each family of decoders."""
