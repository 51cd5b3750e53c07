#!/usr/bin/env python3
"""usage: alerts.py PROJECT WORK

The alerts and the dashboard of the chart: promtool reads every rule and every expression, each alert has a test in which
it fires and one in which it stays silent, and no metric is named that nothing in the sources tells.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

import yaml

project, work = (pathlib.Path(arg) for arg in sys.argv[1:])
promtool = pathlib.Path(os.environ["TOOLS"]) / "bin/promtool"


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} {command[1]}: {done.stdout}{done.stderr}")
    return done.stdout


def told():
    """The metrics that the sources print, by how each place writes their names."""
    def text_of(name):
        files = [project / f"src/cli/{name}.rs", *sorted((project / "src/cli" / name).glob("*.rs"))]
        return "".join(f.read_text().split("#[cfg(test)]")[0] for f in files if f.is_file())

    text = {name: text_of(name) for name in ("exporter", "listen", "serve")}
    names = {f"backstay_exporter_{n}" for n in re.findall(r'one\(\s*&mut out,\s*"(\w+)"', text["exporter"])}
    names |= {f"backstay_{n}" for n in re.findall(r'(?:gauge|family)\(\s*"(\w+)"', text["exporter"])}
    names |= {f"backstay_archive_{n}" for n in re.findall(r'one\(\s*"(\w+)"', text["listen"])}
    names |= set(re.findall(r"\bbackstay_\w+[a-z]", text["listen"])) | set(re.findall(r"\bbackstay_\w+[a-z]", text["serve"]))
    histogram = "backstay_archive_commit_to_durable_seconds"
    names |= {f"{histogram}_{part}" for part in ("bucket", "sum", "count")} - {histogram}
    if not (project / "src/jobs/drill").is_dir():
        # Without drills nothing tells of them; what they will tell is in their page.
        page = (project / "docs/drill.md").read_text()
        names |= {f"backstay_{n}" for n in re.findall(r"`((?:drill|recovery)_\w+_(?:seconds|proven))", page)}
    return names


rendered = run("helm", "template", "--kube-version", "1.31.0", "backstay", project / "charts/backstay",
               "--set", "monitoring.rules.enabled=true,monitoring.dashboard.enabled=true")
objects = {o["kind"]: o for o in yaml.safe_load_all(rendered) if o and o["kind"] in ("PrometheusRule", "ConfigMap")}
groups = objects["PrometheusRule"]["spec"]
rules = [rule for group in groups["groups"] for rule in group["rules"]]

alerts = work / "alerts"
alerts.mkdir()
(alerts / "rules.yaml").write_text(yaml.safe_dump(groups, width=1000))
run(promtool, "check", "rules", alerts / "rules.yaml")

for rule in rules:
    page = rule["annotations"]["runbook_url"]
    missing = {"severity"} - set(rule["labels"]) | {"summary", "description"} - set(rule["annotations"])
    if missing or not re.fullmatch(r"docs/runbooks/[a-z-]+\.md", page):
        sys.exit(f"{rule['alert']}: {missing or page}")
    if (project / "docs/runbooks").is_dir() and not (project / page).is_file():
        sys.exit(f"{rule['alert']}: there is no {page}")

# Every alert fires in one test at least, and stays silent in another one.
fires, silent = set(), set()
tests = sorted((project / "tests/alerts").glob("*.yaml"))
for test in tests:
    (alerts / test.name).write_text(test.read_text())
    for case in yaml.safe_load(test.read_text())["tests"]:
        for look in case.get("alert_rule_test", []):
            (fires if look.get("exp_alerts") else silent).add(look["alertname"])
for rule in rules:
    if rule["alert"] not in fires or rule["alert"] not in silent:
        sys.exit(f"{rule['alert']} has to fire in one test of tests/alerts and to stay silent in another one")
if fires | silent != {rule["alert"] for rule in rules}:
    sys.exit(f"tests/alerts names alerts that do not exist: {sorted((fires | silent) - {r['alert'] for r in rules})}")
run(promtool, "test", "rules", *(alerts / test.name for test in tests))

# promtool checks expressions in rules: those of the dashboard become some.
dashboard = json.loads(objects["ConfigMap"]["data"]["backstay.json"])
expressions = [target["expr"].replace("$cluster", ".*") for panel in dashboard["panels"] for target in panel["targets"]]
recorded = [{"record": f"panel:{n}", "expr": expression} for n, expression in enumerate(expressions)]
(alerts / "dashboard.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
run(promtool, "check", "rules", alerts / "dashboard.yaml")

variables = [json.dumps(variable["query"]) for variable in dashboard["templating"]["list"]]
known = told()
used = set(re.findall(r"\bbackstay_\w+", " ".join([*expressions, *variables, *(rule["expr"] for rule in rules)])))
if used - known:
    sys.exit(f"nothing tells these metrics: {sorted(used - known)}")
print(f"{len(rules)} alerts, {len(expressions)} expressions, {len(used)} of {len(known)} metrics", file=sys.stderr)
