"""Verbs of the command line in modules of their own; what is heavy is imported inside."""
