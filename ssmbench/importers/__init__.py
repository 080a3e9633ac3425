"""Other people's trained weights as networks of ours: one file for each published layout."""
