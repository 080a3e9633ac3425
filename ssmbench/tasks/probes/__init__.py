"""Memory probes: generated tasks that ask for one ability each, at any length and lag."""
