"""Sessions, subscriptions, and messages on their way."""
