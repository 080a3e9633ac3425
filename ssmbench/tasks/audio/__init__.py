"""Raw audio: one file a data set."""
