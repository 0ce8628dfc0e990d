"""Benchmarks of txbayeux and of comparable servers."""
