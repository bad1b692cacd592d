"""The inference core: Triton model repository sources, their builder, launcher and watchdog."""
