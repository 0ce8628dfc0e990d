"""Bayeux publish/subscribe for Twisted."""
