"""Link: how frames and explanations travel between processes and hosts."""
