"""`python -m rtx.cli` is the `rtx` command."""

from rtx.cli import main

main()
