"""``cfg``: all settings as hooks of gunicorn see them."""

from __future__ import annotations

import grp
import os
import pwd
from types import ModuleType
from typing import Any


class Setting:
    """One setting: ``cfg.settings["workers"].value``."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self.value = value

    def get(self) -> Any:
        """The value."""
        return self.value

    def set(self, value: Any) -> None:
        """Change the value, for those who read it later in this process."""
        self.value = value


class Cfg:
    """The settings; each is an attribute.

    Attributes:
        settings: By name.
        env_orig: The environment as it was at the start of this process.
    """

    def __init__(
        self, plan: dict[str, Any], module: ModuleType | None, env: dict[str, str]
    ) -> None:
        values = dict(plan["cfg"])
        for name, value in vars(module).items() if module is not None else ():
            # What the master could not be told: functions and classes.
            if callable(value) and name not in values and not name.startswith("_"):
                values[name] = value
        if module is not None and "logconfig_dict" in vars(module):
            # With the classes and streams that it may hold.
            values["logconfig_dict"] = module.logconfig_dict or {}
        # As in gunicorn: the number, also where nobody else is asked for.
        values["user"] = _uid(values["user"])
        values["group"] = _gid(values["group"])
        values["chdir"] = plan["chdir"]
        settings = {name: Setting(name, value) for name, value in values.items()}
        vars(self).update(settings=settings, env_orig=env, _app=plan["app"])
        vars(self).update(
            _class=plan["worker_class"], _env=plan["env"], _paste=plan["paste_global_conf"]
        )

    def __getattr__(self, name: str) -> Any:
        try:
            return vars(self)["settings"][name].value
        except KeyError:
            raise AttributeError(f"No configuration setting for: {name}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.settings:
            raise AttributeError("Invalid access!")
        super().__setattr__(name, value)

    def set(self, name: str, value: Any) -> None:
        """Change a value, for those who read it later in this process."""
        if name not in self.settings:
            raise AttributeError(f"No configuration setting for: {name}")
        self.settings[name].set(value)

    @property
    def worker_class_str(self) -> str:
        """The short name of the worker class."""
        return str(vars(self)["_class"])

    @property
    def address(self) -> list[Any]:
        """Where clients connect: ``(host, port)``, or the path of a socket."""
        return [_address(bind) for bind in self.settings["bind"].value]

    @property
    def uid(self) -> int:
        """The user that workers run as."""
        return int(self.settings["user"].value)

    @property
    def gid(self) -> int:
        """The group that workers run as."""
        return int(self.settings["group"].value)

    @property
    def proc_name(self) -> str:
        """What the service is called: ``proc_name``, or the app."""
        return str(self.settings["proc_name"].value or vars(self)["_app"])

    @property
    def env(self) -> dict[str, str]:
        """``raw_env`` as a dictionary."""
        return dict(vars(self)["_env"])

    @property
    def paste_global_conf(self) -> dict[str, str]:
        """``raw_paste_global_conf`` as a dictionary."""
        return dict(vars(self)["_paste"])

    @property
    def is_ssl(self) -> Any:
        """Whether clients speak TLS: true or false, and not more."""
        return self.settings["certfile"].value or self.settings["keyfile"].value

    @property
    def ssl_options(self) -> dict[str, Any]:
        """The settings of TLS, by gunicorn's names."""
        names = ("keyfile", "certfile", "cert_reqs", "ca_certs", "ciphers")
        return {name: self.settings[name].value for name in names}


def _uid(user: Any) -> int:
    return os.geteuid() if user is None else _number(user, lambda name: pwd.getpwnam(name).pw_uid)


def _gid(group: Any) -> int:
    return os.getegid() if group is None else _number(group, lambda name: grp.getgrnam(name).gr_gid)


def _number(name: Any, find: Any) -> int:
    text = str(name)
    return int(text) if text.isdigit() else int(find(text))


def _address(bind: str) -> Any:
    if bind.startswith(("unix:", "fd://")):
        return bind.removeprefix("unix:").removeprefix("//")
    host, _, port = bind.removeprefix("tcp://").rpartition(":")
    return (host.strip("[]") or "0.0.0.0", int(port)) if port.isdigit() else (bind, 8000)
