"""rtx: what a video network looks at, while it looks."""
