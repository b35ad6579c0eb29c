"""The files around the code agree: workflows, hooks, templates, and the version wherever it stands."""

from __future__ import annotations

import re
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
CALL = re.compile(r'make (?P<target>[a-z]+)( ARGS="[^"\n]*")?|bash (?P<script>\.ci/[a-z]+)')
"""All that a step of a workflow may run."""
SCRIPTS = Path(sysconfig.get_path("scripts"))
"""The folder of the tools that this environment has installed."""


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(read("pyproject.toml"))["project"]
    return found


def jobs(workflow: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return found


def steps(workflow: Path) -> Iterator[dict[str, str]]:
    for job in jobs(workflow).values():
        yield from job["steps"]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))


def hooks() -> list[dict[str, Any]]:
    return [hook for source in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"] for hook in source["hooks"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_only_calls_make_targets_and_scripts_that_exist(workflow: Path) -> None:
    known = targets()
    if not (ROOT / "mkdocs.yml").exists():
        known.add("docs")  # the target comes with the site
    commands = [step["run"] for step in steps(workflow) if "run" in step]
    assert commands
    for command in commands:
        called = re.fullmatch(
            r'make (?P<target>[a-z]+)( ARGS="[^"\n]*")?|bash (?P<script>\.ci/[a-z]+)', command.strip()
        )
        assert called, f"{command} is neither a make target nor a script of .ci"
        target, script = called["target"], called["script"]
        assert target in known if target else (ROOT / script).is_file(), f"{command} calls what does not exist"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_and_ends(workflow: Path) -> None:
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    assert content["concurrency"]["group"]
    for job in jobs(workflow).values():
        assert "permissions" not in job
        assert job["timeout-minutes"]
    for step in steps(workflow):
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/none@v1")), "pin it by its major version"


def test_workflows_test_the_python_versions_that_the_project_allows() -> None:
    (least,) = re.findall(r">=(3\.\d+)$", project()["requires-python"])
    tested = jobs(ROOT / ".github/workflows/ci.yml")["test"]["strategy"]["matrix"]["python"]
    assert least in tested
    assert all(int(version.split(".")[1]) >= int(least.split(".")[1]) for version in tested)


def test_the_version_is_the_same_everywhere() -> None:
    changelog = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", read("CHANGELOG.md"), re.MULTILINE)
    citation = yaml.safe_load(read("CITATION.cff"))
    assert changelog[0] == ("Unreleased", "")
    assert changelog[1] == (project()["version"], str(citation["date-released"]))
    assert citation["version"] == project()["version"]
    assert citation["license"] == project()["license"]


def test_hooks_call_tools_of_the_environment() -> None:
    assert {"ruff-check", "ruff-format", "mypy"} <= {hook["id"] for hook in hooks()}
    for hook in hooks():
        folder, _, tool = hook["entry"].split()[0].rpartition("/")
        assert (folder, hook["language"]) == (".venv/bin", "system"), "it would need the network, or another version"
        assert (SCRIPTS / tool).is_file(), f"{tool} is missing: add its package to the dev extra, or run make setup"


def test_hooks_leave_alone_what_programs_wrote() -> None:
    left_out = re.compile(yaml.safe_load(read(".pre-commit-config.yaml"))["exclude"])
    for name in ("results/toy/a.pack.xz", "tests/fixtures/runs_0.1/README", "docs/toy_translation.html"):
        assert left_out.search(name), name
    for name in ("results/README.md", "docs/speed.md", "tests/test_habits.py"):
        assert not left_out.search(name), name


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.name)
def test_links_of_issue_forms_lead_to_files(form: Path) -> None:
    text = form.read_text(encoding="utf-8")
    assert yaml.safe_load(text)
    for linked in re.findall(r"\]\(\.\./(?:blob|tree)/HEAD/([^)]+)\)", text):
        assert (ROOT / linked).exists(), linked
