"""The control plane of Scopeway. Importing this package costs nothing: the client lives here too."""
