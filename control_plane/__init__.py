"""The control plane of Scopeway. Importing it costs nothing: the client is below it."""
