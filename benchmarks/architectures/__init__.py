"""Which public architectures can be tiled exactly?  Analyse them, run them, tabulate them.

``python -m benchmarks.architectures`` measures every row and writes
``benchmarks/results/architectures.json``; with ``--write`` it turns that into
``docs/architectures.md``.  How to install what it needs: ``requirements.txt`` beside this file.
"""
