"""Check that workflows, hooks, issue forms and version numbers match each other and the Makefile."""

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
"""Commands that a step of a workflow may run."""
SCRIPTS = Path(sysconfig.get_path("scripts"))
"""Folder of the tools that are installed in this environment."""


def read(name: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    """Return the project table of pyproject.toml."""
    found: dict[str, Any] = tomllib.loads(read("pyproject.toml"))["project"]
    return found


def jobs(workflow: Path) -> dict[str, dict[str, Any]]:
    """Return the jobs of a workflow by name."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return found


def steps(workflow: Path) -> Iterator[dict[str, str]]:
    """Yield the steps of all jobs of a workflow."""
    for job in jobs(workflow).values():
        yield from job["steps"]


def targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))


def hooks() -> list[dict[str, Any]]:
    """Return the hooks of the pre-commit configuration."""
    return [hook for source in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"] for hook in source["hooks"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_calls_only_make_targets_and_scripts_that_exist(workflow: Path) -> None:
    known = targets()
    if not (ROOT / "mkdocs.yml").exists():
        known.add("docs")  # the Makefile has this target only if there is a site
    commands = [step["run"] for step in steps(workflow) if "run" in step]
    assert commands
    for command in commands:
        called = re.fullmatch(
            r'make (?P<target>[a-z]+)( ARGS="[^"\n]*")?|bash (?P<script>\.ci/[a-z]+)', command.strip()
        )
        assert called, f"{command} is neither a make target nor a script of .ci"
        target, script = called["target"], called["script"]
        assert target in known if target else (ROOT / script).is_file(), (
            f"{command} calls a target or script that does not exist"
        )


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_has_read_permission_only_and_a_time_limit(workflow: Path) -> None:
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    assert content["concurrency"]["group"]
    for job in jobs(workflow).values():
        assert "permissions" not in job
        assert job["timeout-minutes"]
    for step in steps(workflow):
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/none@v1")), (
            "name the action with its major version, as in actions/checkout@v4"
        )


def test_workflows_test_the_python_versions_that_the_project_allows() -> None:
    (least,) = re.findall(r">=(3\.\d+)$", project()["requires-python"])
    tested = jobs(ROOT / ".github/workflows/ci.yml")["test"]["strategy"]["matrix"]["python"]
    assert least in tested
    assert all(int(version.split(".")[1]) >= int(least.split(".")[1]) for version in tested)


def test_version_is_the_same_in_all_files() -> None:
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
        assert (folder, hook["language"]) == (".venv/bin", "system"), (
            "a hook must use the tools of .venv, without the network"
        )
        assert (SCRIPTS / tool).is_file(), f"{tool} is missing: add its package to the dev extra, or run make setup"


def test_hooks_skip_generated_files() -> None:
    excluded = re.compile(yaml.safe_load(read(".pre-commit-config.yaml"))["exclude"])
    for name in ("results/toy/a.pack.xz", "tests/fixtures/runs_0.1/README", "docs/toy_translation.html"):
        assert excluded.search(name), name
    for name in ("results/README.md", "docs/speed.md", "tests/test_habits.py"):
        assert not excluded.search(name), name


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.name)
def test_links_of_issue_forms_lead_to_files(form: Path) -> None:
    text = form.read_text(encoding="utf-8")
    assert yaml.safe_load(text)
    for linked in re.findall(r"\]\(\.\./(?:blob|tree)/HEAD/([^)]+)\)", text):
        assert (ROOT / linked).exists(), linked
