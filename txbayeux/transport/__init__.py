"""The client's half of each connection type."""
