"""The whole system as processes on this machine: what `make demo` shows and the acceptance tests break.

Starts: simulator, ingress, web, workers; beside a broker and a database that exist already.
Guarantees: every process has its own folder with its log; none outlives this one.
"""

import json
import os
import re
import secrets
import sys
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from connectors.child import Child, Progress, silent
from connectors.config import Settings
from streams.topology import opened

ROOT = Path(__file__).parent.parent
_LISTENING = re.compile(r'"url": ?"(http://[^"]+)"')


@dataclass(slots=True)
class LocalSystem:
    """The processes of one installation. `environment` is what each of them gets."""

    folder: Path
    environment: dict[str, str]
    children: dict[str, Child] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """As the processes see them."""
        return Settings.from_environment(self.environment)

    def simulator(self, *, history: str = "year", companies: int = 1, port: int = 0) -> str:
        """Start the pretend Intuit; the other processes will call it. Returns its address."""
        arguments = ["--port", str(port), "--history", history, "--companies", str(companies)]
        names = ("QUICKBOOKS_CLIENT_ID", "QUICKBOOKS_CLIENT_SECRET", "WEBHOOK_VERIFIER_TOKENS")
        client_id, client_secret, verifier = (self.environment[name] for name in names)
        # With "=", because a secret may begin with a hyphen.
        arguments += [f"--client-id={client_id}", f"--client-secret={client_secret}", f"--verifier-token={verifier}"]
        folder = self._folder("simulator")
        child = self._start("simulator", ["connectors.simulator", "--data-dir", str(folder), *arguments])
        url = self._listening("simulator", child)
        self.environment["QUICKBOOKS_API_URL"] = url
        self.environment["QUICKBOOKS_DISCOVERY_URL"] = f"{url}/.well-known/openid_configuration"
        return url

    def ingress(self) -> str:
        """Start the webhook ingress and tell the simulator of it. Returns its address."""
        child = self._start("ingress", ["streams.cli", "ingress", "--ready-file", self._ready_file("ingress")])
        url = self._listening("ingress", child)
        self._answers(child, f"{url}/ready")
        if "simulator" in self.urls:
            target = {"url": f"{url}/webhooks/quickbooks"}
            httpx.put(f"{self.urls['simulator']}/_sim/webhooks", json=target, trust_env=False).raise_for_status()
        return url

    def web(self) -> str:
        """Start the pages. Returns their address."""
        child = self._start("web", ["streams.cli", "web", "--ready-file", self._ready_file("web")])
        url = self._listening("web", child)
        self._answers(child, f"{url}/health")
        return url

    def worker(self, name: str = "worker", *, roles: str = "all", progress: Progress = silent) -> Child:
        """Start a worker and wait until it owns partitions, or is ready to."""
        ready_file = self._ready_file(name)
        Path(ready_file).unlink(missing_ok=True)
        child = self._start(name, ["streams.cli", "worker", "--role", roles, "--ready-file", ready_file])
        child.wait_until(Path(ready_file).exists, progress)
        return child

    async def connect(self, organisation: str, company_id: str) -> None:
        """Connect a simulated company as a person of this organisation would, without the pages."""
        async with opened(self.settings) as system:
            sign_in = await system.authorizations.start(organisation)
            async with httpx.AsyncClient(follow_redirects=False, trust_env=False) as client:
                asked = httpx.URL(sign_in).copy_merge_params({"auto": "1", "realmId": company_id})
                back = httpx.URL((await client.get(asked)).headers["location"]).params
            await system.authorizations.finish(back["code"], back["state"], back["realmId"])

    def process_environment(self, name: str) -> dict[str, str]:
        """What a process of this installation gets; its connections to the database show its name."""
        inherited = {variable: os.environ[variable] for variable in ("PATH", "HOME", "LANG") if variable in os.environ}
        own = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PGAPPNAME": name}
        return inherited | own | self.environment

    def stop(self) -> None:
        """Stop all: first whoever writes, the simulator last."""
        order = sorted(self.children, key=lambda name: name == "simulator")
        for name in order:
            self.children[name].ask_to_stop()
        for name in order:
            self.children[name].stop()

    def _start(self, name: str, module: list[str]) -> Child:
        folder = self._folder(name)
        log = folder / "log.txt"
        log.unlink(missing_ok=True)
        child = Child(name, [sys.executable, "-m", *module], folder, environment=self.process_environment(name))
        child.start()
        self.children[name] = child
        return child

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _ready_file(self, name: str) -> str:
        return str(self._folder(name) / "ready")

    def _listening(self, name: str, child: Child) -> str:
        child.wait_until(lambda: _url_in(child.log) is not None)
        url = self.urls[name] = _url_in(child.log) or ""
        return url

    def _answers(self, child: Child, url: str) -> None:
        def answered() -> bool:
            try:
                return httpx.get(url, timeout=2, trust_env=False).status_code == 200
            except httpx.HTTPError:
                return False

        child.wait_until(answered)


def new_environment(bootstrap: str, database_url: str, **more: str) -> dict[str, str]:
    """Settings of a new installation on this machine, with keys of its own."""
    return {
        "KAFKA_BOOTSTRAP": bootstrap,
        "DATABASE_URL": database_url,
        "MASTER_KEYS": f"local:{b64encode(secrets.token_bytes(32)).decode()}",
        "QUICKBOOKS_CLIENT_ID": "local-client",
        "QUICKBOOKS_CLIENT_SECRET": secrets.token_hex(24),
        "WEBHOOK_VERIFIER_TOKENS": secrets.token_hex(24),
        "TOPIC_PARTITIONS": "4",
        "INGRESS_PORT": "0",
        "WEB_PORT": "0",
    } | more


def kept_environment(file: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The keys and secrets that this installation was begun with, else these, which are kept from now on."""
    if file.exists():
        kept: dict[str, str] = json.loads(file.read_text())
        changing = ("KAFKA_BOOTSTRAP", "DATABASE_URL")
        return kept | {name: environment[name] for name in changing}
    file.touch(mode=0o600)
    file.write_text(json.dumps(dict(environment), indent=2))
    return dict(environment)


def _url_in(log: Path) -> str | None:
    if not log.exists():
        return None
    found = _LISTENING.search(log.read_text(errors="replace"))
    return found.group(1) if found else None
