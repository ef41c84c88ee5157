"""The systems that the gateway is compared with: each peer relays tokens in a few lines and keeps nothing."""
