"""HTTP/1.1 on unix sockets: the server for Envoy, the client to Envoy, and what both may hold."""
