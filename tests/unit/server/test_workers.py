"""How many workers there are to be, and the sockets that they share."""

import errno
import os
import socket
import stat
import subprocess
import sys
from argparse import ArgumentTypeError
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from relay.management.commands import serve
from relay.management.help import worker_count
from relay.process import lifecycle
from relay.server import workers
from relay.server.listening import NotListening, open_tcp, open_unix
from relay.server.workers import core_count
from tests.processes import ROOT

CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def cgroups(tmp_path):
    """Control groups with a process in /outer/inner, and a way to set their quotas."""
    (tmp_path / "groups" / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "own").write_text("12:cpu:/old\n0::/outer/inner\n")

    def count(**quotas):
        for folder, quota in quotas.items():
            path = {"outer": "outer", "inner": "outer/inner", "root": "."}[folder]
            (tmp_path / "groups" / path / "cpu.max").write_text(quota)
        return core_count(tmp_path / "groups", tmp_path / "own")

    return count


@pytest.mark.parametrize(
    ("quotas", "cores"),
    [
        ({}, CORES),
        ({"inner": "max 100000\n"}, CORES),
        ({"inner": "100000 100000\n"}, 1),
        ({"inner": "50000 100000\n"}, 1),  # half a core
        ({"inner": "max 100000\n", "outer": "90000 100000\n"}, 1),
        ({"root": "90000 100000\n"}, 1),  # a container sees its own group as the root
        ({"inner": "1000000000 100000\n"}, CORES),
        ({"inner": "nonsense\n"}, CORES),
    ],
)
def test_cores_are_those_that_affinity_and_quotas_allow(cgroups, quotas, cores):
    assert cgroups(**quotas) == cores


def test_without_control_groups_the_affinity_counts(tmp_path):
    assert core_count(tmp_path, tmp_path / "none") == CORES


@pytest.mark.parametrize("text", ["0", "-1", "many", "257", ""])
def test_wrong_number_of_workers_is_named_with_what_is_expected(text):
    with pytest.raises(ArgumentTypeError, match="auto, or a whole number of processes"):
        worker_count(text)


@pytest.mark.parametrize("text", ["1", "2", "256", "auto", "AUTO"])
def test_number_of_workers_or_auto_is_taken(text):
    assert worker_count(text) == text


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", ""])
def test_address_listens_and_a_second_listener_is_refused(host):
    with open_tcp(host, 0) as listener:
        port = listener.getsockname()[1]
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        with pytest.raises(NotListening, match=rf"{port}: {os.strerror(errno.EADDRINUSE)}"):
            open_tcp(host, port)


def test_host_that_is_no_host_is_named():
    with pytest.raises(NotListening, match=r"no\.such\.host\.invalid:80"):
        open_tcp("no.such.host.invalid", 80)


def test_unix_socket_that_a_dead_process_has_left_is_replaced(tmp_path):
    path = tmp_path / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with open_unix(str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        with pytest.raises(NotListening, match="in use"):
            open_unix(str(path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_file_that_is_no_socket_is_not_replaced(tmp_path):
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(NotListening, match="in use"):
        open_unix(str(file))
    assert file.read_text() == "precious"


@pytest.mark.parametrize(("option", "count"), [(None, 1), ("1", 1), ("3", 3), ("auto", CORES)])
def test_number_is_the_options_or_else_the_settings(option, count, monkeypatch):
    monkeypatch.setattr(lifecycle, "session_layer", lambda: SimpleNamespace(survives_process=True))
    assert serve.worker_count_of(option) == count


@pytest.mark.parametrize("option", ["2", "auto"])
def test_without_a_store_more_than_one_is_refused_and_auto_too(option):
    assert serve.worker_count_of("1") == 1
    with pytest.raises(CommandError, match="Several workers need a store"):
        serve.worker_count_of(option)


def test_streams_that_were_closed_stay_open_in_the_program_that_follows():
    program = (
        "import os; from relay.server.standard_streams import open_standard_streams;"
        " open_standard_streams(); print(os.get_inheritable(0), os.get_inheritable(2))"
    )
    command = ["sh", "-c", 'exec "$@" 0<&- 2>&-', "sh", sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    assert ended.stdout == "True True\n"


@pytest.fixture
def parent(monkeypatch):
    """What the parent is started with: its workers, the address, and what is said of the socket."""
    started = []

    def become_parent(count, listener, **options):
        with listener:
            started.append((count, listener.getsockname(), options))
        raise SystemExit

    monkeypatch.setattr(workers, "become_parent", become_parent)
    monkeypatch.setattr(lifecycle, "session_layer", lambda: SimpleNamespace(survives_process=True))
    return started


def start(**options):
    with pytest.raises(SystemExit):
        call_command("serve", workers="2", skip_checks=True, **options)


def test_parent_opens_the_address_or_takes_the_socket_that_it_is_given(parent, tmp_path):
    path = str(tmp_path / "gateway.sock")
    start(unix_socket=path)
    start(host="127.0.0.1", port=0)
    with socket.create_server(("127.0.0.1", 0)) as given:
        start(fd=os.dup(given.fileno()))
        name = given.getsockname()
    (count, address, of_path), (_, (host, _), of_port), (_, of_systemd, of_given) = parent
    assert (count, address, of_path) == (2, path, {"unlink": path, "is_foreign": False})
    assert (host, of_port) == ("127.0.0.1", {"unlink": None, "is_foreign": False})
    assert (of_systemd, of_given) == (name, {"unlink": None, "is_foreign": True})
