"""A cluster of the chart's pods on this machine, with KubeRay and kubelet played by hand.

What they do is what is done here: the store first, then the head, workers as soon as it answers (one after the other,
or Ray gives them up on two cores), and then Ray Serve is told what to run. A pod that is lost is followed by another
one when the test says so. Nothing else is played: Ray, Serve, Triton, Valkey and all of this project are the real ones,
started by the chart's own commands.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from serving.access.keys import create
from tests.e2e.nodes.containers import Container, Network
from tests.e2e.nodes.names import NameServer
from tests.e2e.nodes.pods import HEAD, HEAD_NAME, VALKEY, VALKEY_NAME, Manifests, ports_of
from tests.e2e.system import until
from tests.helm.chart import container, merged, objects_in, rendered, values_of

WITHIN_S: Final = 400.0
"""For anything that starts Ray's processes, on two cores."""
_FIRST_NUMBER: Final = 2
_REDIS_PORT: Final = 6379
_CONTROL_NAME: Final = "sluice-control.ml.svc"
_NAMES: Final = {VALKEY: VALKEY_NAME, HEAD: HEAD_NAME}
_MOST_RESTARTS: Final = 5
"""Ray's own patience with a node that begins is 30 s, which two busy cores may use up."""
_ASK_S: Final = 2.0


@dataclass
class Cluster:
    """One that is up.

    Attributes:
        manifests: what it was made from.
        network: that all pods are plugged into.
        folder: for logs.
        admin_key: that may do everything.
        pods: those that run, by name.
        names: of Services, with the address of the pod behind each.
        client: that pods are asked with.
    """

    manifests: Manifests
    network: Network
    folder: Path
    admin_key: str
    pods: dict[str, Container] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    client: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False))
    _groups: dict[str, str] = field(default_factory=dict)
    _restarts: dict[str, int] = field(default_factory=dict)
    _begun: int = 0

    # What KubeRay does.

    def begin(self) -> None:
        """Every pod, and the application on them; gateways are not ready before there is something to serve."""
        store = self._start(self.manifests.valkey_pod().name, VALKEY)
        until(lambda: self.is_ready(store), "Valkey")
        head = self.start_head()
        for group, of in self.manifests.groups().items():
            for _ in range(of.get("replicas", 0)):
                self.start_worker(group)
        until(lambda: self.is_ready(head), "the head", WITHIN_S)
        self.tell_serve()
        until(self.is_running, "the application", WITHIN_S)
        until(lambda: all(self.is_ready(pod) for pod in self.pods if pod not in self.of("gateway")), "pods", WITHIN_S)

    def start_head(self) -> str:
        """The name of a new head, whose Ray has begun."""
        self._begun += 1
        name = self._start(f"sluice-head-{self._begun}", HEAD)
        until(lambda: self.probe(name, "startupProbe"), "Ray in the head", WITHIN_S)
        return name

    def start_worker(self, group: str) -> str:
        """The name of one more pod of that group, whose Ray has begun."""
        self._begun += 1
        name = self._start(f"sluice-{group}-worker-{self._begun}", group)
        until(lambda: self.probe(name, "startupProbe"), f"Ray in {name}", WITHIN_S)
        return name

    def tell_serve(self) -> None:
        """Hands the application to Ray Serve, as the RayService has it."""
        answer = self.dashboard("PUT", self.manifests.serve_config)
        assert answer.is_success, answer.text

    def dashboard(self, method: str, said: Mapping[str, Any] | None = None) -> httpx.Response:
        """What the head's dashboard says of Ray Serve's applications."""
        shown = {"X-Ray-Authorization": f"Bearer {self.manifests.token}"}
        [head] = self.of(HEAD)
        url = f"http://{self.address(head)}:8265/api/serve/applications/"
        return self.client.request(method, url, json=said, headers=shown, timeout=60.0)

    def is_running(self) -> bool:
        """Whether Ray Serve calls the application that."""
        with suppress(httpx.HTTPError):
            answer = self.dashboard("GET")
            if not answer.is_success:
                return False
            said = answer.json()["applications"].get("sluice", {})
            assert said.get("status") != "DEPLOY_FAILED", said
            return bool(said.get("status") == "RUNNING")
        return False

    # What kubelet does.

    def probe(self, pod: str, which: str) -> bool:
        """Whether a probe of the template is answered as it is to be; meanwhile what has ended is started again."""
        self._keep()
        if self._groups[pod] == VALKEY:  # its probes are commands of an image that is not here
            return self.listens(pod)
        one, template = self.pods[pod], self._template(pod)
        asked = container(template)[which]["httpGet"]
        url = f"{asked['scheme'].lower() if 'scheme' in asked else 'http'}://{one.address}"
        with suppress(httpx.HTTPError):
            port = ports_of(template)[asked["port"]]
            return bool(self.client.get(f"{url}:{port}{asked['path']}", timeout=_ASK_S).is_success)
        return False

    def is_ready(self, pod: str) -> bool:
        """As its readiness probe says."""
        return self.probe(pod, "readinessProbe")

    def _keep(self) -> None:
        """Containers that have ended begin once more, at most so often; an address stays its pod's."""
        for pod, one in list(self.pods.items()):
            if not one.alive:
                self._restarts[pod] = self._restarts.get(pod, 0) + 1
                assert self._restarts[pod] <= _MOST_RESTARTS, f"{pod} ends again and again:\n{one.said}"
                self.pods[pod] = one.again()

    def listens(self, pod: str) -> bool:
        """Whether Valkey does."""
        with socket.socket() as probe:
            probe.settimeout(_ASK_S)
            return probe.connect_ex((self.address(pod), _REDIS_PORT)) == 0

    def end_gently(self, pod: str) -> None:
        """As when a pod is deleted: its hook first, and then the end."""
        hook = container(self._template(pod))["lifecycle"]["preStop"]["exec"]["command"]
        self.pods[pod].run(*hook)
        self.lose(pod)

    def lose(self, pod: str, *, silently: bool = False) -> None:
        """Its node is gone; silently: without a word to anybody, as where the power fails."""
        one = self.pods.pop(pod)
        if silently:
            one.vanish()
        else:
            one.kill()

    # Who is who.

    def of(self, group: str) -> list[str]:
        """The names of a group's pods, oldest first."""
        return [name for name in self.pods if self._groups[name] == group]

    def address(self, pod: str) -> str:
        """Where a pod is."""
        return self.pods[pod].address

    @property
    def control_url(self) -> str:
        """The control API, at its pod."""
        [pod] = self.of("control")
        return f"http://{self.address(pod)}:8080/api/v1"

    @property
    def shown(self) -> dict[str, str]:
        """What an operator sends along: the key, and the name of the Service."""
        return {"Authorization": f"Bearer {self.admin_key}", "Host": _CONTROL_NAME}

    def _start(self, name: str, group: str) -> str:
        made = self.manifests
        description = made.valkey_pod() if group == VALKEY else made.ray_pod(group, name)
        self._groups[name] = group
        self._begun += 1
        pod = self.pods[name] = Container(description, self.network, _FIRST_NUMBER + self._begun, self.folder)
        if group in _NAMES:
            self.names[_NAMES[group]] = pod.address
        return name

    def _template(self, pod: str) -> Mapping[str, Any]:
        template: Mapping[str, Any] = self.manifests.groups()[self._groups[pod]]["template"]
        return template


@contextmanager
def cluster(folder: Path, values: Mapping[str, Any]) -> Iterator[Cluster]:
    """Up for as long as the block lasts.

    Args:
        folder: for logs, claims and the files of Secrets.
        values: of the chart, above those of `values-dev.yaml`.
    """
    key = create().text
    held = {"sluice-admin-key": {"admin-key": key}, "sluice-valkey": {"password": secrets.token_hex(12)}}
    manifests = Manifests(objects_in(rendered(merged(values_of("dev"), values))), held, secrets.token_hex(32), folder)
    with Network() as network:
        up = Cluster(manifests, network, folder, key)
        with NameServer(network.address(1), up.names), up.client:
            try:
                up.begin()
                yield up
            finally:
                for pod in list(up.pods):
                    up.lose(pod)
