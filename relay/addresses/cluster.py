"""Addresses of clusters: a few of the nodes, which tell the others."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import msgspec

DEFAULT_PORT: Final = 6379


class ClusterUrl(msgspec.Struct, frozen=True):
    """An address that names nodes of a cluster.

    Attributes:
        nodes: hosts and ports.
        scheme: ``redis`` or ``rediss``.
        login: user and password in front of each node's host, escaped, with the ``@``; may be empty.
        query: the options of every connection, with the ``?``; may be empty.
    """

    nodes: tuple[tuple[str, int], ...]
    scheme: str
    login: str
    query: str

    def of_node(self, host: str, port: int) -> str:
        """Return the address of one node, as a server of its own has it."""
        return f"{self.scheme}://{self.login}{f'[{host}]' if ':' in host else host}:{port}/0{self.query}"


def parse_cluster_url(url: str) -> ClusterUrl | None:
    """Read an address of a cluster; ``None`` if it is of another kind.

    ``redis+cluster://[user:password@]host:port,host:port[?options]``; with ``rediss`` the nodes speak TLS. The login is
    that of all nodes. A cluster has one database, which is number 0.

    Raises:
        ValueError: the address is malformed.
    """
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    if kind != "cluster":
        return None
    credentials, _, hosts = parts.netloc.rpartition("@")
    if "@" in credentials and "," in credentials:  # else hosts would become a part of the password
        raise ValueError("the login stands once, before the first host")
    if parts.path not in ("", "/", "/0"):
        raise ValueError("a cluster has no other database than 0")
    return ClusterUrl(
        tuple(_host_and_port(host) for host in hosts.split(",")),
        scheme,
        f"{credentials}@" if credentials else "",
        f"?{parts.query}" if parts.query else "",
    )


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path or parts.query:
        raise ValueError("not a host and a port")
    return parts.hostname, DEFAULT_PORT if parts.port is None else parts.port
