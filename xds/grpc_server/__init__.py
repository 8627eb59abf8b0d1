"""The server that speaks gRPC: everything that does I/O."""
