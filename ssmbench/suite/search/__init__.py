"""Search for settings: trials of each cell of a suite, which are ordinary runs in its folder.

A *cell* is a task, a variant and a discretizer of the suite. Settings are proposed in *rounds*: all
trials of a round are proposed before the first of them runs, and told when the last has ended, so
that what is proposed depends on the seed and on earlier results only, not on which run ended first.
With successive halving the trials are trained with a small budget first (the first *rung*), and the
best of them again with a larger one.
"""
