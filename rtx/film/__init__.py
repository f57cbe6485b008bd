"""Files explained: read, a clip or all of them, drawn, written as film, sheet, arrays or report."""
