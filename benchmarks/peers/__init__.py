"""What the gateway is measured against: each peer relays tokens in a few lines and keeps nothing."""
