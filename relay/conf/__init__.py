"""The settings of the gateway: ``conf`` has their values, typed; ``Conf`` declares them."""

# Named without ``__all__``, which lists what other projects may import.
from relay.conf.settings import PREFIX as PREFIX
from relay.conf.settings import Conf as Conf
from relay.conf.settings import SettingInvalid as SettingInvalid
from relay.conf.settings import conf as conf
from relay.conf.settings import is_own_project as is_own_project
from relay.conf.settings import named as named
from relay.conf.settings import read_texts as read_texts
from relay.conf.settings import settings_from_environment as settings_from_environment
