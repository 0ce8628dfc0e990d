"""Engines: sessions, subscriptions and undelivered messages."""
