"""Addresses in settings, each parsed by the library that will use it, so that an accepted address can be used.

Each function raises ``ValueError``. Its text may quote the address, and so a password: ``relay.conf`` drops it, and
``how_to_escape`` names the most frequent mistake instead.
"""
