"""Lays the configuration out as a kubelet would: the items of the pod's volume `config`, from the ConfigMap.

mount.py RENDERED WORKLOAD DIRECTORY; ends with 1 and says why if the two do not fit.
"""

import pathlib
import sys

import yaml

rendered, workload, directory = sys.argv[1:]
with open(rendered, encoding="utf-8") as file:
    documents = [document for document in yaml.safe_load_all(file) if document]
maps = {document["metadata"]["name"]: document["data"] for document in documents if document["kind"] == "ConfigMap"}
pods = [
    document["spec"]["template"]["spec"]
    for document in documents
    if document["kind"] in ("Deployment", "StatefulSet") and document["metadata"]["name"] == workload
]
if len(pods) != 1:
    sys.exit(f"{len(pods)} workloads are called {workload}, not 1")
volume = next(volume["configMap"] for volume in pods[0]["volumes"] if volume["name"] == "config")
data = maps[volume["name"]]
keys = [item["key"] for item in volume["items"]]
if sorted(keys) != sorted(data):
    sys.exit(f"{workload} mounts {sorted(keys)}, the ConfigMap has {sorted(data)}")
for item in volume["items"]:
    path = pathlib.Path(directory) / item["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data[item["key"]], encoding="utf-8")
