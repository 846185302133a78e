# SPDX-License-Identifier: GPL-2.0-or-later
"""What docs/cloudstack.md, docs/libvirt.md and docs/kubevirt.md tell to type, and
examples/kubevirt/onDefineDomain, against what these engines do with it (written down from their
sources)."""
import json
import re
import subprocess
import sys
import urllib.parse
import xml.etree.ElementTree as ET

import pytest

from adminkit import TREE, UUID
from fake_xapi import FakeXapi, record
from test_xapi_sync import Host

QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
HOOK = TREE / "examples" / "kubevirt" / "onDefineDomain"
# As KubeVirt's converter writes a domain: tabs, an empty qemu namespace attribute on the root.
DOMAIN = """<domain type="kvm" xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">
\t<name>default_testvmi</name>
\t<memory unit="b">1073741824</memory>
\t<os><type arch="x86_64" machine="q35">hvm</type></os>
\t<devices><emulator>/usr/libexec/qemu-kvm</emulator></devices>
\t<metadata><kubevirt xmlns="http://kubevirt.io"><uid>f114&amp;b</uid></kubevirt></metadata>
%s</domain>"""


def document(name):
    return (TREE / "docs" / name).read_text(encoding="utf-8")


def blocks(name, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", document(name), re.M | re.S)


def arguments(root):
    line = root.find(QEMU + "commandline")
    return [] if line is None else [c.get("value") for c in line if c.tag == QEMU + "arg"]


def variables(root):
    return {c.get("name"): c.get("value") for c in root.iter(QEMU + "env")}


# CloudStack.

def cloudstack_xenserver(decoded, allowed, old):
    """persistExtraConfigXenServer, ExtraConfigurationUtility: what xapi gets, {map: {key: value}}.
    old: as it was before issue 8847 was mended."""
    assert re.fullmatch(r"(?:[\w\-\s\.:]*=[\w\-\s\.'\":]*(?:\s+|$))+", decoded)
    maps = {"platform": {}, "other_config": {}}
    for line in re.split(r"\r?\n+", decoded):
        key, _, value = line.partition("=")
        assert line.split("=")[0].lower() in [a.strip().lower() for a in allowed.split(",")]
        parameter, _, name = key.partition(":")
        parameter = parameter.replace("-", "_")
        if old:
            name = name.replace("-", "_")
            parameter = "other_config"
        maps[parameter][name] = value
    return maps


def xenserver_command():
    text = document("cloudstack.md")
    encoded = re.search(r"extraconfig=(platform%3A\S+)", text).group(1)
    allowed = re.search(r"list\.xenserver \\\n\s+value=(\S+)", text).group(1)
    decoded = urllib.parse.unquote_plus(encoded)
    assert decoded == blocks("cloudstack.md", "text")[0].strip()
    return decoded, allowed


@pytest.mark.parametrize("old", [False, True])
def test_cloudstack_on_xcp_ng(kit, lab, old):
    """Each start makes a VM with a new UUID, and each stop destroys it."""
    maps = cloudstack_xenserver(*xenserver_command(), old)
    assert old or maps["platform"] == {"device-model-args": "-device vgpu-stub"}
    xapi = FakeXapi(lab / "xapi")
    try:
        host = Host(kit, xapi)
        xapi.set("first start", record(UUID[1], "i-2-3-VM", maps["other_config"]))
        host.once()
        xapi.destroy("first start")
        xapi.set("second start", record(UUID[2], "i-2-3-VM", maps["other_config"]))
        host.once()
        (vm,) = host.vms().values()
        assert (vm["uuid"], vm["name"], vm["pool"], vm["weight"]) == (UUID[2], "i-2-3-VM", "A", 80)
    finally:
        xapi.stop()


def test_cloudstack_on_kvm():
    (text,) = blocks("cloudstack.md", "xml")
    # Split at empty lines; text with a colon is not compared with the list of elements.
    assert "\n\n" not in text and ":" in text and not re.match(r"\S+:$", text.split("\n")[0])
    # LibvirtVMDef: no namespace on the root, this behind all else.
    root = ET.fromstring(f"<domain type='kvm'>\n<name>i-2-3-VM</name>\n{text}</domain>\n")
    assert "vgpu-stub,chardev=vgpu" in arguments(root)
    assert variables(root)["LD_PRELOAD"].startswith("/usr/lib/vgpu-mediator/qemu/")


def test_cloudstack_service_offering():
    """An offering's details: of the extraconfig keys only those of DPDK are taken."""
    (key,) = re.findall(r"serviceofferingdetails\[0\]\.key=(\S+)", document("cloudstack.md"))
    assert re.fullmatch(r"extraconfig-dpdk-(?:numa|hugepages|interface.*)", key), key
    # Both of them would turn DPDK on.
    assert document("cloudstack.md").count("details[0].key=") == 1 and "details[1]" not in \
        document("cloudstack.md")


def test_libvirt():
    (text,) = blocks("libvirt.md", "xml")
    root = ET.fromstring(text)
    assert root.find("devices/emulator").text == "/usr/bin/vgpu-qemu"
    given = arguments(root)
    assert given[0::2] == ["-chardev", "-device"] and given[3] == "vgpu-stub,chardev=vgpu"
    # AppArmor's rules that the package brings allow what the documents name.
    rules = (TREE / "packaging/apparmor/vgpu-mediator").read_text(encoding="utf-8")
    assert "/tmp/vgpu-mediator.sock rw," in rules and "path=/tmp/vgpu-mediator.sock" in given[1]
    assert "/usr/bin/vgpu-qemu rmix," in rules and "/usr/lib/vgpu-mediator/qemu/** mr," in rules


# KubeVirt.

def hook(annotations, domain=DOMAIN % "", status=0, arguments=None):
    vmi = json.dumps({"metadata": {"name": "testvmi", "annotations": annotations}})
    done = subprocess.run([sys.executable, str(HOOK)] +
                          (arguments or ["--vmi", vmi, "--domain", domain]),
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def test_kubevirt_gives_the_device():
    root = ET.fromstring(hook({"vgpu.device": "true", "vgpu.module": "/var/run/vgpu/qemu"}))
    assert arguments(root) == ["-chardev", "socket,id=vgpu,path=/var/run/vgpu/vgpu-mediator.sock,"
                               "reconnect=1", "-device", "vgpu-stub,chardev=vgpu"]
    assert variables(root) == {"LD_PRELOAD": "/var/run/vgpu/qemu/vgpu-preload.so"}
    # What was there is there.
    assert root.find("devices/emulator").text == "/usr/libexec/qemu-kvm"
    assert root.find(".//{http://kubevirt.io}uid").text == "f114&b"


def test_kubevirt_has_arguments_of_its_own():
    own = '<qemu:commandline><qemu:arg value="-fw_cfg"/><qemu:arg value="name=a"/>' \
        '</qemu:commandline>'
    once = hook({"vgpu.device": "true"}, DOMAIN % own)
    root = ET.fromstring(once)
    assert arguments(root)[:2] == ["-fw_cfg", "name=a"] and len(arguments(root)) == 6
    assert len(root.findall(QEMU + "commandline")) == 1 and variables(root) == {}
    assert hook({"vgpu.device": "true"}, once.rstrip("\n")) == once, "twice is once"


@pytest.mark.parametrize("annotations", [{}, None, {"vgpu.device": "false"}, {"other": "x"}])
def test_kubevirt_leaves_other_vms_alone(annotations):
    assert hook(annotations) == DOMAIN % "" + "\n"


@pytest.mark.parametrize("annotations, domain, said", [
    ({"vgpu.device": "true", "vgpu.socket": "/x,server=on"}, DOMAIN % "", "vgpu.socket is no path"),
    ({"vgpu.device": "true", "vgpu.socket": "/a/../b"}, DOMAIN % "", "vgpu.socket is no path"),
    ({"vgpu.device": "true", "vgpu.module": "relative"}, DOMAIN % "", "vgpu.module is no path"),
    ({"vgpu.device": "true", "vgpu.module": "/x\n"}, DOMAIN % "", "vgpu.module is no path"),
    ({"vgpu.device": "true"}, "<network/>", "is no libvirt domain"),
    ({"vgpu.device": "true"}, "<domain>", "no element found"),
])
def test_kubevirt_refuses(annotations, domain, said):
    assert said in hook(annotations, domain, status=1)


def test_kubevirt_says_how_it_is_called():
    assert "usage:" in hook({}, status=2, arguments=["--vmi", "{}"])
    assert "onDefineDomain:" in hook({}, status=1, arguments=["--vmi", "[]", "--domain", "<a/>"])


def test_kubevirts_annotation_is_what_it_takes():
    (text,) = blocks("kubevirt.md", "yaml")
    folded = re.search(r"hookSidecars: >-\n(.*?)\nspec:", text, re.S).group(1)
    (sidecar,) = json.loads(folded)
    assert sidecar["configMap"]["hookPath"] == "/usr/bin/onDefineDomain"
    assert sidecar["configMap"]["key"] == HOOK.name
    volumes = (HOOK.parent / "volume.yaml").read_text(encoding="utf-8")
    assert f"name: {sidecar['pvc']['name']}\n" in volumes
    # The default socket is below the folder that the container gets.
    assert sidecar["pvc"]["sharedComputePath"] == "/var/run/vgpu"
