"""Every test of the contract, and their fixtures: ``from relay.testing.contract import *`` in a test module.

That module, or a ``conftest.py``, defines the fixture ``make_store``: it returns a function that makes a ``Store``.
pytest-asyncio has to be in its mode ``auto``.
"""

# ruff: noqa: F403
from relay.testing.contract.append import *
from relay.testing.contract.bounds import *
from relay.testing.contract.cancel import *
from relay.testing.contract.empty_sessions import *
from relay.testing.contract.finish import *
from relay.testing.contract.kept_viewers import *
from relay.testing.contract.lease import *
from relay.testing.contract.limits import *
from relay.testing.contract.lists import *
from relay.testing.contract.outbox import *
from relay.testing.contract.owners import *
from relay.testing.contract.pending import *
from relay.testing.contract.positions import *
from relay.testing.contract.question_properties import *
from relay.testing.contract.questions import *
from relay.testing.contract.queue import *
from relay.testing.contract.read import *
from relay.testing.contract.reset import *
from relay.testing.contract.session_properties import *
from relay.testing.contract.sessions import *
from relay.testing.contract.tail import *
from relay.testing.contract.worker_properties import *
from relay.testing.fixtures import *
