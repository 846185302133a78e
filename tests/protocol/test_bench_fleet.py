# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/bench_fleet.py: hosts that are asked for little keep up, hosts that are asked for more than
there is don't, and the same arguments give the same figures."""
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

from mediator import BIN, TREE


def run(folder, name):
    out, plot = folder / f"{name}.json", folder / f"{name}.svg"
    subprocess.run([sys.executable, TREE / "bench" / "bench_fleet.py", "--hosts=2", "--vms=20",
                    "--seconds=3", f"--json={out}", f"--plot={plot}"], check=True, timeout=300,
                   stdout=subprocess.DEVNULL, env={**os.environ, "VGPU_BIN": str(BIN)})
    return json.loads(out.read_text())["levels"], plot


def test_a_small_fleet(lab):
    levels, plot = run(lab, "a")
    assert levels == run(lab, "b")[0]
    least, most = levels[0], levels[-1]
    assert least["keep_up"] == 2 and most["keep_up"] == 0
    assert least["busy_percent"] < 30 < most["busy_percent"] <= 100
    assert least["wait_p99_ms"] < most["wait_p99_ms"] <= most["wait_p99_worst_ms"]
    assert len(list(ET.parse(plot).getroot().iter("{http://www.w3.org/2000/svg}polyline"))) == 6
