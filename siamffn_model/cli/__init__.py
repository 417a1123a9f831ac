"""The `siamffn` command, one file per command group."""
