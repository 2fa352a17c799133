"""A stand-in for Genesys Cloud, for development, demonstrations and tests. Not for production.

It answers the token endpoint, SCIM users, the native password call and the few settings that a password
gateway reads, misbehaves like a real network, forgets everything, and shows every password it was given.
It shares nothing with the rest of the product, so that a mistake there cannot hide here.
"""

from passferry.simulator.core import DEFAULT_CLIENT
from passferry.simulator.faults import FAULTS, Fault
from passferry.simulator.inprocess import InProcessTransport
from passferry.simulator.inspection import Simulator
from passferry.simulator.oauth import Client
from passferry.simulator.run import make, parse_clients, run_simulate, settings_text
from passferry.simulator.server import Server, serve
from passferry.simulator.settings import Settings
from passferry.simulator.wire import Fate, Reply, Request

__all__ = [
    "DEFAULT_CLIENT",
    "FAULTS",
    "Client",
    "Fate",
    "Fault",
    "InProcessTransport",
    "Reply",
    "Request",
    "Server",
    "Settings",
    "Simulator",
    "make",
    "parse_clients",
    "run_simulate",
    "serve",
    "settings_text",
]
