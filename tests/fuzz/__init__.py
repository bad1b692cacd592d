"""Requests made up from the descriptors of the protos, to try every service with."""
