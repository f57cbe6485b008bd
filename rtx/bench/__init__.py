"""`rtx bench`: what explaining costs on this machine, measured as it runs."""
