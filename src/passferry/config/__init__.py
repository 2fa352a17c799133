"""Configuration: one TOML file, the environment, secrets from files; all mistakes reported together."""

from passferry.config.load import load, load_settings
from passferry.config.problems import ConfigError, Problem
from passferry.config.secret_file import FileSecret
from passferry.config.settings import OrgSettings, Secret, Settings, TlsFiles

__all__ = [
    "ConfigError",
    "FileSecret",
    "OrgSettings",
    "Problem",
    "Secret",
    "Settings",
    "TlsFiles",
    "load",
    "load_settings",
]
