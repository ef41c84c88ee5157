"""The agent to try the gateway with. It is for trying and testing, not for production.

Start it with ``python manage.py demo_agent``. It speaks the agent's side of the protocol and answers with canned
words.
"""
