"""A leaderboard without a server: a small folder of results that anyone can check on a CPU.

    FOLDER/
      leaderboard.json                  entries and the version of this layout
      digests.json                      SHA-256 of every file
      runs/FINGERPRINT/config.yaml      the resolved config
                       result.json      the result, without host names and paths
                       model.safetensors  the weights that the figures are of
                       README.md        a model card
      plugins/DIGEST/NAME.py            sources of plugins that runs used

:mod:`write` makes such a folder, :mod:`verify` checks one that somebody else made.
"""
