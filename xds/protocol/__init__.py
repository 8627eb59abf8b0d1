"""The rules of the xDS transport protocol, one stream at a time.

No I/O and no clock: time is an argument.
"""
