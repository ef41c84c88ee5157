"""Addresses in settings, each read by the code that will use it, so that what is accepted here can be used.

Each function raises ``ValueError``. Its words may hold a piece of the address, which may hold a password: they are
dropped (``relay.conf``), and ``how_to_escape`` says instead what most often is wrong.
"""
