"""Daphne, hardened by subclassing: flow control, close codes, time limits, a watchdog, and an orderly end."""
