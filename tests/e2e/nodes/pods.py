"""The chart's pods as KubeRay and kubelet make them: commands, variables and volumes, from what Helm renders.

What KubeRay adds to a template is taken from its source (1.6, `controllers/ray/common/pod.go`): the command that starts
Ray, the variables beside the template's own, how long workers wait for a head that is gone. What a template says is
used as it stands, places in the file system and the user among it; of the machine come only the programs.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from serving.control.valkey import binary
from tests.e2e.nodes.containers import Description, Volume
from tests.helm.chart import Object, container, room

HEAD: Final = "head"
VALKEY: Final = "valkey"
HEAD_NAME: Final = "sluice-head-svc.ml.svc.cluster.local"
"""KubeRay's Service for the head."""
VALKEY_NAME: Final = "sluice-valkey.ml.svc"
GCS_PORT: Final = 6379
_SWITCHES = frozenset({"true", "false"})
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_REFERENCE = re.compile(r"\$\(([A-Za-z0-9_]+)\)")
_PROGRAMS = Path("/programs")
_SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")


@dataclass(frozen=True)
class Manifests:
    """What the chart renders, and what a namespace has besides.

    Attributes:
        objects: of the chart.
        secrets: by name and key.
        token: that Ray asks for; KubeRay makes one.
        folder: for claims, and for what ConfigMaps and Secrets hold.
    """

    objects: list[Object]
    secrets: Mapping[str, Mapping[str, str]]
    token: str
    folder: Path

    @property
    def service(self) -> Object:
        """The RayService."""
        return self._one("RayService")

    @property
    def serve_config(self) -> dict[str, Any]:
        """What KubeRay hands to Ray Serve."""
        read: dict[str, Any] = yaml.safe_load(self.service["spec"]["serveConfigV2"])
        return read

    def groups(self) -> dict[str, Object]:
        """Head and worker groups, by name."""
        cluster = self.service["spec"]["rayClusterConfig"]
        return {HEAD: cluster["headGroupSpec"], **{one["groupName"]: one for one in cluster["workerGroupSpecs"]}}

    def ray_pod(self, group: str, name: str) -> Description:
        """A pod of that group of the Ray cluster."""
        of = self.groups()[group]
        command = ["bash", "-c", f"ulimit -n 65536; {self._ray_start(group, of)}"]
        return self._described(of["template"], name, command, self._kuberays(group, name))

    def valkey_pod(self) -> Description:
        """The one pod of the StatefulSet."""
        template = self._one("StatefulSet")["spec"]["template"]
        return self._described(template, f"{self._one('StatefulSet')['metadata']['name']}-0", None, {})

    def claim(self, name: str) -> Path:
        """The folder behind a claim, which pods may write to."""
        folder = self.folder / "claims" / name
        if not folder.is_dir():
            folder.mkdir(parents=True)
            group = int(self.groups()[HEAD]["template"]["spec"]["securityContext"]["fsGroup"])
            os.chown(folder, group, group)
        return folder

    # What KubeRay adds.

    def _ray_start(self, group: str, of: Mapping[str, Any]) -> str:
        given: dict[str, str] = {**of["rayStartParams"], "block": "true"}
        if labels := of.get("labels"):
            given["labels"] = ",".join(f"{name}={value}" for name, value in labels.items())
        given.setdefault("memory", str(_bytes(container(of["template"])["resources"]["limits"]["memory"])))
        if group == HEAD:
            given["redis-password"] = "$REDIS_PASSWORD"
        else:
            given["address"] = f"{HEAD_NAME}:{GCS_PORT}"
        options = " ".join(
            f"--{name}" if value in _SWITCHES else f"--{name}={value}"
            for name, value in sorted(given.items())
            if value != "false"
        )
        return f"ray start {'--head ' if group == HEAD else ''}{options}"

    def _kuberays(self, group: str, name: str) -> dict[str, str]:
        """The variables that KubeRay sets beside the template's own."""
        at = "127.0.0.1" if group == HEAD else HEAD_NAME
        common = {
            "RAY_ADDRESS": f"{at}:{GCS_PORT}", "RAY_PORT": str(GCS_PORT), "RAY_CLUSTER_NAME": "sluice",
            "RAY_CLOUD_INSTANCE_ID": name, "RAY_NODE_TYPE_NAME": group, "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token, "RAY_timeout_ms_task_wait_for_death_info": "0",
            "RAY_gcs_server_request_timeout_seconds": "5", "RAY_SERVE_KV_TIMEOUT_S": "5",
        }  # fmt: skip
        if group != HEAD:
            return {**common, "FQ_RAY_IP": at, "RAY_IP": at, "RAY_gcs_rpc_server_reconnect_timeout_s": "600"}
        memory = self.service["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
        password = memory["redisPassword"]["valueFrom"]["secretKeyRef"]
        return {
            **common,
            "RAY_REDIS_ADDRESS": memory["redisAddress"],
            "REDIS_PASSWORD": self.secrets[password["name"]][password["key"]],
            "RAY_external_storage_namespace": memory["externalStorageNamespace"],
        }

    # What kubelet makes of a template.

    def _described(
        self, template: Mapping[str, Any], name: str, command: list[str] | None, also: Mapping[str, str]
    ) -> Description:
        one = container(template)
        environment = {"PATH": _path(), "PYTHONDONTWRITEBYTECODE": "1"}
        for variable in one.get("env", []):
            value = variable.get("value")
            if value is None:
                wanted = variable["valueFrom"]["secretKeyRef"]
                value = self.secrets[wanted["name"]][wanted["key"]]
            environment[variable["name"]] = _REFERENCE.sub(lambda found: environment[found[1]], value)
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
        mounts = [self._mounted(name, mount, volumes.get(mount["name"])) for mount in one["volumeMounts"]]
        security = template["spec"]["securityContext"]
        assert one["securityContext"]["readOnlyRootFilesystem"]
        assert security["runAsNonRoot"]
        return Description(
            name=name,
            command=command or one["command"],
            environment={**environment, **also},
            user=int(security["runAsUser"]),
            volumes=[*_image(room(template)), *mounts],
        )

    def _mounted(self, pod: str, mount: Mapping[str, Any], volume: Mapping[str, Any] | None) -> Volume:
        path = mount["mountPath"]
        if volume is None:  # a claim of the StatefulSet's own
            return Volume(path, self.claim(f"{mount['name']}-{pod}"))
        if "emptyDir" in volume:
            return Volume(path, size=str(_bytes(volume["emptyDir"]["sizeLimit"])))
        if "persistentVolumeClaim" in volume:
            source = self.claim(volume["persistentVolumeClaim"]["claimName"])
            return Volume(path, source, writable=not mount.get("readOnly", False))
        return Volume(path, self._files(volume), writable=False)

    def _files(self, volume: Mapping[str, Any]) -> Path:
        """The folder of a ConfigMap's files, or of a Secret's."""
        if "configMap" in volume:
            name = volume["configMap"]["name"]
            texts = self._named("ConfigMap", name)["data"]
        else:
            name = volume["secret"]["secretName"]
            held = self.secrets[name]
            items = volume["secret"].get("items", [{"key": key, "path": key} for key in held])
            texts = {item["path"]: held[item["key"]] for item in items}
        folder: Path = self.folder / "files" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (folder / file).write_text(text)
        return folder

    def _one(self, kind: str) -> Object:
        [found] = [one for one in self.objects if one["kind"] == kind]
        return found

    def _named(self, kind: str, name: str) -> Object:
        [found] = [one for one in self.objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
        return found


def ports_of(template: Mapping[str, Any]) -> dict[str, int]:
    """The ports of a pod's container, by name."""
    return {port["name"]: port["containerPort"] for port in container(template)["ports"]}


def _image(room_of: str) -> Iterator[Volume]:
    """What an image brings: this project with its environment and its Python, or the one server."""
    if room_of == VALKEY:
        yield Volume(str(_PROGRAMS / "valkey-server"), binary(), writable=False)
        return
    root = Path(__file__).parents[3]
    for folder in dict.fromkeys((Path(sys.base_prefix), root, Path(sys.prefix))):
        if folder == root or not folder.is_relative_to(root):
            yield Volume(str(folder), folder, writable=False)


def _path() -> str:
    return ":".join((str(Path(sys.executable).parent), str(_PROGRAMS), *_SYSTEM_PATH))


def _bytes(quantity: str) -> int:
    """A quantity of Kubernetes, in bytes."""
    number, unit = re.fullmatch(r"(\d+)(Ki|Mi|Gi)?", quantity).groups()  # type: ignore[union-attr]
    return int(number) * _UNITS.get(unit, 1)
