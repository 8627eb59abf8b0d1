"""The cache of validations of tokens."""
