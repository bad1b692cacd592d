"""Runs one whole platform on this machine: real servers as child processes of one supervisor.

`topology` says what runs (pure), `supervisor` runs it, `daemon` detaches it from the terminal,
`report` says truthfully how it is doing. Everything a platform writes lives under one state folder.
"""
