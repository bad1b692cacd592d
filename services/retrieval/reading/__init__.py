"""Reads documents: bytes to text to passages. Runs in a child process, for the bytes may be hostile."""
