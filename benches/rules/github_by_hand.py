"""The 30 rules of `examples/github` as somebody would write them by hand, for parsed deliveries.

A delivery's event is looked up in a dict, which has the tests of that event in order of priority. Rules that name no
event in so many words are entered for each event that they can hold for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Payload = dict[str, Any]
Test = Callable[[Payload], Any]

MAIN = re.compile(r"^refs/heads/(main|master)$").search
RELEASE = re.compile(r"^v?[0-9]+[.][0-9]+[.][0-9]+$").search
MISSING = object()


def at(value: Any, *names: str) -> Any:
    """What is at the path, `MISSING` where nothing is."""
    for name in names:
        if not isinstance(value, dict):
            return MISSING
        value = value.get(name, MISSING)
    return value


def present(value: Any) -> bool:
    return value is not MISSING


def critical(p: Payload) -> bool:
    scores = (at(p, "security_advisory", "cvss", "score"), at(p, "alert", "security_advisory", "cvss", "score"))
    return any(isinstance(score, int | float) and 9 <= score <= 10 for score in scores)


def injection(p: Payload) -> bool:
    alert = p["alert"]
    return alert["state"] == "open" and alert["rule"].get("severity") == "error" and "injection" in alert["rule"]["id"]


def in_our_stack(p: Payload) -> bool:
    packages = [one.get("package", {}) for one in p["security_advisory"].get("vulnerabilities", ())]
    return p["action"] != "withdrawn" and any(
        one.get("ecosystem") in ("pip", "npm") and (one["name"] == "django" or one["name"].startswith("react"))
        for one in packages
    )


def vulnerable(p: Payload) -> bool:
    severity = at(p, "alert", "security_advisory", "severity")
    return at(p, "alert", "state") == "open" and severity not in ("low", MISSING)


def vulnerable_repository(p: Payload) -> bool:
    severity = at(p, "alert", "severity")
    return p.get("action") == "create" and isinstance(severity, str) and not severity.startswith("lo")


def too_powerful(p: Payload) -> bool:
    permissions = at(p, "installation", "permissions")
    return (
        p.get("action") in ("created", "new_permissions_accepted")
        and isinstance(permissions, dict)
        and any(permissions.get(name) == "write" for name in ("administration", "workflows"))
    )


def to_production(p: Payload) -> bool:
    places = (at(p, "deployment", "environment"), at(p, "deployment_status", "environment"))
    return any(isinstance(place, str) and place.lower() == "production" for place in places)


def release_out(p: Payload) -> Any:
    release = p["release"]
    return p["action"] in ("published", "prereleased") and RELEASE(release["tag_name"]) and not release["draft"]


def step_failed(p: Payload) -> bool:
    return any(
        step["conclusion"] == "failure" and not step["name"].startswith("Set up")
        for step in at(p, "workflow_job", "steps") or ()
    )


def waits(p: Payload) -> bool:
    job = p["workflow_job"]
    return "self-hosted" in job["labels"] and job["status"] in ("queued", "waiting")


def only_documentation(p: Payload) -> bool:
    return len(p["commits"]) > 0 and all(
        name.endswith(".md")
        for commit in p["commits"]
        for name in commit["added"] + commit["modified"] + commit["removed"]
    )


def not_a_bot(p: Payload) -> bool:
    login = at(p, "sender", "login")
    return isinstance(login, str) and not login.endswith("[bot]")


def wants_review(p: Payload) -> bool:
    wanted = ("opened", "ready_for_review", "reopened", "review_requested")
    request = p["pull_request"]
    return not request["draft"] and p["action"] in wanted and len(request["requested_reviewers"]) > 0


def stale_draft(p: Payload) -> bool:
    return p["pull_request"].get("draft") is True and at(p, "pull_request", "merged_at") is None


def bug_in_milestone(p: Payload) -> bool:
    issue = p["issue"]
    milestone = issue["milestone"]
    return (
        p["action"] not in ("locked", "unlocked", "deleted")
        and any(label["name"] == "bug" and label["default"] for label in issue.get("labels") or ())
        and milestone is not None
        and milestone["title"].startswith("v")
        and milestone["state"] in ("open", "closed")
    )


def owner_speaks(p: Payload) -> bool:
    comment = at(p, "comment")
    return (
        present(at(comment, "body"))
        and at(comment, "author_association") in ("OWNER", "MEMBER")
        and p.get("action") == "created"
    )


def access_changed(p: Payload) -> bool:
    return at(p, "sender", "type") in ("User", "Organization") and present(at(p, "sender", "login"))


def big_purchase(p: Payload) -> Any:
    return p["action"] != "cancelled" and p["marketplace_purchase"]["plan"]["monthly_price_in_cents"] * 12 >= 12000


ALERT = ("secret-leaked", lambda p: p["action"] in ("created", "reopened"))
CRITICAL = ("critical-advisory", critical)
POWERFUL = ("app-too-powerful", too_powerful)
GONE = ("app-gone", lambda p: p.get("action") in ("deleted", "suspend", "revoked"))
PRODUCTION = ("production-deployment", to_production)
FINISHED = ("build-finished", not_a_bot)
REVIEWED = ("reviewed", lambda p: p.get("action", MISSING) not in ("deleted", "edited", MISSING))
SPEAKS = ("owner-speaks", owner_speaks)
TALK = ("conversation", lambda p: True)
QUESTION = ("question", lambda p: at(p, "discussion", "category", "is_answerable") is True)
ACCESS = ("access-changed", access_changed)
NOTHING = ("nothing-was-done", lambda p: "action" not in p)

TESTS: dict[str, tuple[tuple[str, Test], ...]] = {
    "secret_scanning_alert": (ALERT, NOTHING),
    "security_advisory": (CRITICAL, ("advisory-in-our-stack", in_our_stack), NOTHING),
    "dependabot_alert": (CRITICAL, ("vulnerable-dependency", vulnerable), NOTHING),
    "repository_vulnerability_alert": (("vulnerable-dependency", vulnerable_repository), NOTHING),
    "push": (
        ("history-rewritten", lambda p: p["forced"] and MAIN(p["ref"])),
        ("documentation-only", only_documentation),
        ("pushed-branch", lambda p: p["ref"].startswith("refs/heads/") and p["deleted"] is False),
    ),
    "public": (("repository-exposed", lambda p: True),),
    "repository": (("repository-exposed", lambda p: p["action"] == "publicized"), NOTHING),
    "code_scanning_alert": (("injection-found", injection), NOTHING),
    "installation": (POWERFUL, GONE, NOTHING),
    "installation_repositories": (POWERFUL, NOTHING),
    "installation_target": (POWERFUL, NOTHING),
    "github_app_authorization": (GONE, NOTHING),
    "deployment": (PRODUCTION, NOTHING),
    "deployment_status": (PRODUCTION, NOTHING),
    "deployment_protection_rule": (PRODUCTION, NOTHING),
    "deployment_review": (PRODUCTION, NOTHING),
    "page_build": (("pages-broken", lambda p: p["build"]["status"] != "built"), NOTHING),
    "release": (("release-out", release_out), NOTHING),
    "workflow_job": (("job-step-failed", step_failed), ("waits-for-our-runner", waits), FINISHED, NOTHING),
    "workflow_run": (
        ("build-failed", lambda p: p["workflow_run"]["conclusion"] == "action_required"),
        FINISHED,
        NOTHING,
    ),
    "workflow_dispatch": (FINISHED, NOTHING),
    "check_run": (
        ("build-failed", lambda p: p["check_run"]["conclusion"] in ("failure", "timed_out")),
        FINISHED,
        NOTHING,
    ),
    "check_suite": (FINISHED, NOTHING),
    "status": (("build-failed", lambda p: p["state"] in ("error", "failure")), FINISHED, NOTHING),
    "pull_request": (
        ("enormous-change", lambda p: p["pull_request"].get("additions", 0) > 1000),
        ("wants-review", wants_review),
        ("stale-draft", stale_draft),
        NOTHING,
    ),
    "pull_request_review": (REVIEWED, NOTHING),
    "pull_request_review_comment": (REVIEWED, SPEAKS, TALK),
    "pull_request_review_thread": (REVIEWED, NOTHING),
    "issues": (
        ("bug-in-milestone", bug_in_milestone),
        ("issue-without-milestone", lambda p: p["issue"]["milestone"] is None and p["issue"].get("state") == "open"),
        NOTHING,
    ),
    "issue_comment": (SPEAKS, TALK),
    "commit_comment": (SPEAKS, TALK),
    "discussion_comment": (SPEAKS, QUESTION, TALK),
    "discussion": (QUESTION, TALK),
    **dict.fromkeys(("gollum", "fork", "star", "watch"), (TALK,)),
    "marketplace_purchase": (("big-customer", big_purchase), NOTHING),
    "sponsorship": (
        ("big-customer", lambda p: p["sponsorship"]["tier"]["monthly_price_in_dollars"] > 4),
        NOTHING,
    ),
    **dict.fromkeys(
        (
            "member",
            "membership",
            "organization",
            "org_block",
            "team",
            "team_add",
            "deploy_key",
            "branch_protection_rule",
        ),
        (ACCESS, NOTHING),
    ),
}
OTHERS: tuple[tuple[str, Test], ...] = (NOTHING,)


def first(delivery: dict[str, Any]) -> str | None:
    """The id of the first rule that holds for the delivery."""
    payload = delivery["payload"]
    for rule, holds in TESTS.get(delivery["event"], OTHERS):
        if holds(payload):
            return rule
    return None
