"""Show: the live frame with its heatmap, to a page, a window, a file."""
