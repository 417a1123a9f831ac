"""Models written to folders in the format of an inference engine."""
