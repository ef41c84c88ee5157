"""Names of agent protocols: each loads its module, when it is asked for."""

import pytest

from relay.agent import protocols
from relay.agent.protocols.base import AgentProtocol
from relay.conf import Conf


@pytest.mark.parametrize("name", protocols.PROTOCOLS)
def test_each_name_loads(name):
    assert isinstance(protocols.load(name), AgentProtocol)


@pytest.mark.parametrize("name", protocols.PROTOCOLS)
def test_each_name_is_a_value_of_the_setting(name):
    assert Conf(lambda: {"AGENT_PROTOCOL": name}).agent_protocol == name


@pytest.mark.parametrize("name", protocols.PROTOCOLS)
def test_only_our_own_protocol_gets_the_internal_key(name):
    assert protocols.load(name).is_own == (name == "agent")


def test_a_dotted_path_may_name_a_class_or_an_object():
    made = protocols.load("relay.agent.protocols.agent.OwnAgent")
    assert isinstance(made, AgentProtocol)


ready_made = protocols.load("agent")


def test_an_object_is_used_as_it_is():
    assert protocols.load(f"{__name__}.ready_made") is ready_made


@pytest.mark.parametrize("path", ["relay.agent.protocols.Missing", "nowhere.Agent"])
def test_a_path_without_anything_is_an_import_error(path):
    with pytest.raises(ImportError):
        protocols.load(path)


@pytest.mark.parametrize("path", ["relay.conf.conf", "relay.conf.Conf"])
def test_what_is_no_protocol_is_refused_in_words(path):
    with pytest.raises(TypeError, match="is no"):
        protocols.load(path)
