"""Watches Triton's models by using them, and replaces one whose process died or hangs.

Triton never restarts a dead model process and reports the model as ready regardless, so asking its health is
no use: a tiny inference is. What the watchdog finds out it writes to a status file for others to show.
"""
