"""Protobuf and the messages of the discovery protocol. No I/O."""
