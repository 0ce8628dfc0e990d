"""txbayeux measured beside the servers that a user would pick instead."""
