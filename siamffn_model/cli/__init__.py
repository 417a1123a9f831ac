"""The `siamffn` command: one file for each group of commands."""
