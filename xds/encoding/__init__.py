"""Encoding and decoding of protobuf and of the xDS messages. No I/O."""
