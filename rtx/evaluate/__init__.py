"""`rtx eval`: how far heatmaps can be trusted, measured."""
