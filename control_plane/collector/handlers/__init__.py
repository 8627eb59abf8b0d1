"""One handler for each way of answering a request."""
