"""An xDS server as a library: sans-IO sessions, a source of resources, one gRPC shell."""
