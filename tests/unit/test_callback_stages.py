# SPDX-License-Identifier: GPL-3.0-or-later
"""What the callback `stages` prints, event by event, without a run of Ansible."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.callback import stages

VIA = 'Data could not be sent to remote host "a". Make sure it can be reached over ssh: '
NODES = ("worker-1", "worker-2", "worker-3")


class Screen:
    """Stands in for Ansible's display and keeps the lines."""

    def __init__(self) -> None:
        self.verbosity = 0
        self.lines: list[str] = []

    def display(self, text: str, color: str | None = None, **_: Any) -> None:
        self.lines += text.split("\n")


class Run:
    """A run in which the test says what happens."""

    def __init__(self) -> None:
        self.screen = Screen()
        self.callback = stages.CallbackModule(display=self.screen)
        self.play("Make it so")

    def play(self, name: str, hosts: str = "podnet") -> None:
        variables = {"ansible_play_hosts_all": list(NODES)}
        manager = SimpleNamespace(get_vars=lambda play: variables)
        self.callback.v2_playbook_on_play_start(
            SimpleNamespace(
                get_name=lambda: name, get_variable_manager=lambda: manager, hosts=[hosts]
            )
        )

    def task(self, role: str, name: str, once: bool = False, action: str = "command") -> None:
        owner = SimpleNamespace(get_name=lambda include_role_fqcn: role) if role else None
        self.current = SimpleNamespace(
            action=action,
            collections=[],
            run_once=once,
            loop=None,
            delegate_to=None,
            _role=owner,
            get_name=lambda: name,
            get_path=lambda: "tasks/main.yml:1",
        )
        self.callback.v2_playbook_on_task_start(self.current, False)

    def result(self, host: str, **found: Any) -> Any:
        return SimpleNamespace(
            host=SimpleNamespace(get_name=lambda: host), task=self.current, result=found
        )

    def ok(self, host: str, **found: Any) -> None:
        self.callback.v2_runner_on_ok(self.result(host, **found))

    def failed(self, host: str, ignored: bool = False, **found: Any) -> None:
        self.callback.v2_runner_on_failed(self.result(host, **found), ignored)

    def end(self, rescued: int = 0) -> list[str]:
        self.callback.v2_playbook_on_stats(SimpleNamespace(rescued={"worker-1": rescued}))
        return self.screen.lines

    def summary(self) -> list[str]:
        lines = self.end()
        return lines[lines.index("summary") + 1 :]


@pytest.fixture
def run() -> Run:
    return Run()


def test_a_task_is_one_line_of_80_columns_with_its_counters(run: Run) -> None:
    run.task("converge", "Read and compare every node")
    run.ok("worker-1", changed=True)
    run.ok("worker-2")
    (line,) = run.end()[:1]
    assert line.startswith("converge     Read and compare every node ")
    assert line.endswith(" ok=2 changed=1")
    assert len(line) == stages.WIDTH


def test_a_failure_of_one_task_for_all_nodes_names_none(run: Run) -> None:
    run.task("plan", "Check the inventory", once=True)
    run.failed("worker-1", msg="worker-2 has a problem")
    text = "\n".join(run.end())
    assert "FAILED:" in text and "worker-1" not in text


@pytest.mark.parametrize(("hosts", "said"), [("podnet", 1), ("localhost", 0)])
def test_only_of_nodes_it_is_said_that_none_match(run: Run, hosts: str, said: int) -> None:
    """`--limit` leaves the controller out, too, and nobody has to know."""
    run.play("Look", hosts)
    run.callback.v2_playbook_on_no_hosts_matched()
    assert "\n".join(run.end()).count("no host of the inventory matches") == said


def test_the_stage_is_named_where_it_begins(run: Run) -> None:
    for name in ("One", "Two"):
        run.task("converge", name)
        run.ok("worker-1")
    first, second = run.end()[:2]
    assert first.startswith("converge     One")
    assert second.startswith("             Two")


def test_a_task_that_every_node_skipped_is_not_shown(run: Run) -> None:
    run.task("converge", "Switch what is in use")
    for node in NODES:
        run.callback.v2_runner_on_skipped(run.result(node))
    assert run.end() == []


def test_ansibles_own_steps_are_shown_only_when_they_fail(run: Run) -> None:
    quiet = {"name": "Validating arguments", "action": "ansible.builtin.validate_argument_spec"}
    run.task("plan", **quiet)
    run.ok("worker-1")
    run.task("plan", **quiet)
    assert run.screen.lines == []
    run.failed("worker-1", msg="podnet_group is of type dict")
    assert "                 podnet_group is of type dict" in run.screen.lines


def test_a_failure_is_shown_at_once_and_in_full(run: Run) -> None:
    run.task("converge", "Add what is missing")
    run.failed("worker-2", msg="route add: refused\n    everything was taken back", rc=2)
    assert run.screen.lines == [
        "converge     Add what is missing",
        "               FAILED worker-2:",
        "                 route add: refused",
        "                     everything was taken back",
        "                 exit code 2",
    ]


def test_what_a_failed_command_printed_is_shown_once() -> None:
    found = {"msg": "non-zero return code", "rc": 2, "stderr": "No such file\n", "stdout": ""}
    expected = "non-zero return code\nexit code 2\nNo such file"
    assert stages.failure_text(found) == expected
    assert stages.failure_text({**found, "module_stderr": "No such file"}) == expected


def test_a_failure_without_words_says_what_to_do() -> None:
    assert "-v" in stages.failure_text({"failed": True})


def test_a_censored_failure_shows_nothing_of_the_result() -> None:
    assert stages.failure_text({"censored": "hidden by no_log"}) == "hidden by no_log"


def test_items_that_failed_are_shown_and_not_said_again(run: Run) -> None:
    run.task("converge", "Run them all")
    run.callback.v2_runner_item_on_failed(run.result("worker-1", item="b", msg="b is broken"))
    run.failed("worker-1", msg="One or more items failed")
    text = "\n".join(run.end())
    assert "FAILED worker-1, item b:" in text
    assert "b is broken" in text
    assert "One or more" not in text


def test_an_interruption_says_what_becomes_of_what_has_begun(run: Run) -> None:
    run.task("converge", "Change the nodes", once=True)
    run.ok("worker-1", podnet_unfinished={"change": "nodes go back"})
    run.task("verify", "Probe every pair", once=True)
    run.ok("worker-1", podnet_unfinished={"pods": "pods are left"})
    run.ok("worker-1")
    run.callback.interrupted()
    assert [line.strip() for line in run.screen.lines[-3:]] == [
        "interrupted",
        "nodes go back",
        "pods are left",
    ]


def test_an_interruption_of_what_has_left_nothing_says_nothing(run: Run) -> None:
    run.task("converge", "Change the nodes", once=True)
    run.ok("worker-1", podnet_unfinished={"change": "nodes go back"})
    run.ok("worker-1", podnet_unfinished={"change": ""})
    run.callback.interrupted()
    assert not run.screen.lines


def test_an_ignored_failure_is_shown_and_not_counted(run: Run) -> None:
    run.task("converge", "Try it")
    run.failed("worker-1", ignored=True, msg="no matter")
    assert "               ignored worker-1:" in run.screen.lines
    assert run.summary() == ["converge     1 node: 1 ok"]


def test_unreachable_nodes_are_named(run: Run) -> None:
    run.task("converge", "Read and compare every node")
    run.ok("worker-1")
    for node in ("worker-2", "worker-3"):
        run.callback.v2_runner_on_unreachable(run.result(node, msg=f"{VIA}No route to host"))
    lines = run.end()
    assert lines[1:4] == [
        "               UNREACHABLE worker-2: No route to host",
        "               UNREACHABLE worker-3: No route to host",
        f"               {stages.AWAY}",
    ]
    assert lines[-1] == "converge     3 nodes: 1 ok, 2 unreachable (worker-2, worker-3)"


def test_what_was_said_of_a_node_is_not_said_again(run: Run) -> None:
    run.task("converge", "Say what came of this node")
    run.callback.v2_runner_on_unreachable(run.result("worker-3", msg="gone", podnet_said=True))
    (line, *_rest) = run.end()
    assert line.endswith("unreachable=1") and "gone" not in "\n".join(run.screen.lines)


def test_hints_are_said_once_at_the_end(run: Run) -> None:
    for name in ("Read", "Read again"):
        run.task("plan", name, once=True)
        run.ok("worker-1", podnet_hint="hint: faster", podnet_lines=[])
    lines = run.end()
    assert lines[-1] == "hint: faster" and lines.count("hint: faster") == 1
    assert not any("hint" in line for line in lines[:-1])


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("yaml", ["worker-1:", "  name:", "  - a", "  -   b: 1"]),
        ("json", ['worker-1: {"name": ["a", {"b": 1}]}']),
    ],
)
def test_debug_speaks_in_the_format_of_the_settings(run: Run, form: str, said: list[str]) -> None:
    options = {"result_format": form, "pretty_results": None}
    run.callback.get_option = options.__getitem__  # as Ansible sets them before a run
    run.task("", "Show", action="ansible.builtin.debug")
    run.ok("worker-1", name=["a", {"b": 1}], changed=False)
    assert run.screen.lines[1:] == [" " * 15 + line for line in said]


def test_what_debug_was_told_is_said_as_it_is(run: Run) -> None:
    run.task("", "Show", action="ansible.builtin.debug")
    run.ok("worker-1", msg="one  two " * 20)
    assert run.screen.lines[1] == f"{' ' * 15}worker-1: {'one  two ' * 20}"


def test_messages_are_as_wide_as_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whole where there is none, such as in a log."""
    warned: list[str] = []
    run.screen.warning = warned.append  # type: ignore[attr-defined]
    words = " ".join(["word"] * 40)
    found = {"msg": f"nodes.one: not set\n    do:       {words}", "warnings": [words]}
    matrix = f"1 {'a' * 60}   ok   ok   ok   ok"
    for columns in (None, 80, 50):
        monkeypatch.setattr(run.callback, "_columns", lambda columns=columns: columns)
        run.screen.lines.clear()
        warned.clear()
        run.task("verify", "Look", action="podnet.fabric.none")
        run.ok("worker-1", podnet_summary=words, podnet_lines=[words, matrix])
        run.failed("worker-2", **found)
        run.callback.v2_runner_on_unreachable(run.result("worker-3", msg=words))
        run.task("verify", "Look again")
        assert matrix in run.screen.lines
        prose = [line for line in run.screen.lines if line != matrix]
        if columns is None:
            assert f"{' ' * 21}do:       {words}" in prose
            assert not warned
            continue
        assert max(len(line) for line in prose if "failed=1" not in line) <= columns
        below = prose[prose.index(next(line for line in prose if "do: " in line)) + 1]
        assert below.startswith(" " * 31 + "word")
        (warning,) = warned
        assert max(map(len, f"[WARNING]: {warning}".split("\n"))) <= columns


def test_commands_of_all_nodes_do_not_stand_below_one(run: Run) -> None:
    run.task("converge", "Change the nodes", once=True)
    diff = [{"prepared": "worker-2, add:\nip route replace\n"}]
    run.callback.v2_on_file_diff(run.result("worker-1", changed=True, diff=diff))
    assert run.screen.lines == [
        "converge     Change the nodes",
        "               worker-2, add:",
        "               ip route replace",
    ]


def test_the_summary_counts_a_node_once_by_its_worst_result(run: Run) -> None:
    for name in ("Add", "Switch"):
        run.task("converge", name)
        run.ok("worker-1", changed=name == "Add")
        run.ok("worker-2")
    run.failed("worker-3", msg="broken")
    expected = "converge     3 nodes: 1 changed, 1 ok, 1 failed (worker-3)"
    assert run.summary() == [expected]


def test_a_summary_of_the_fleet_stands_for_the_task_and_ends_the_stage(run: Run) -> None:
    run.task("verify", "Probe every pair", once=True)
    run.ok("worker-1", podnet_summary="40 pairs verified, 0 failures")
    lines = run.end()
    assert lines[:2] == [
        "verify       Probe every pair",
        "               40 pairs verified, 0 failures",
    ]
    assert lines[-1] == "verify       ok; 40 pairs verified, 0 failures"


def test_summaries_of_nodes_are_listed_by_node(run: Run) -> None:
    run.task("verify", "Look")
    run.ok("worker-2", podnet_summary="4 pods")
    run.ok("worker-1", podnet_summary="3 pods")
    lines = run.end()
    assert lines[1:3] == ["               worker-1: 3 pods", "               worker-2: 4 pods"]


def test_lines_are_printed_as_they_are(run: Run) -> None:
    run.task("verify", "Show the matrix", once=True)
    run.ok("worker-1", podnet_lines=["      a  b", "a     .  ok"])
    assert run.screen.lines == ["verify       Show the matrix", "      a  b", "a     .  ok"]


def test_a_diff_stands_below_its_task_and_node(run: Run) -> None:
    run.task("converge", "Add what is missing")
    found = {"changed": True, "diff": {"prepared": "add:\nroute add 10.64.3.0/24\n"}}
    run.callback.v2_on_file_diff(run.result("worker-1", **found))
    assert run.screen.lines == [
        "converge     Add what is missing",
        "               worker-1:",
        "                 add:",
        "                 route add 10.64.3.0/24",
    ]


def test_a_failure_of_the_fleet_is_not_hidden_by_nodes_that_are_well(run: Run) -> None:
    run.task("converge", "Read")
    run.ok("worker-1")
    run.task("converge", "Read every node, and check that it is ready", once=True)
    run.failed("worker-1", msg="worker-3 has no plugins")
    assert run.summary() == ["converge     1 node: 1 ok, failed for the whole fleet"]


def test_no_line_of_the_summary_is_longer_than_80_columns(run: Run) -> None:
    run.task("converge", "Read")
    for number in range(40):
        run.failed(f"worker-{number:02}", msg="broken")
    lines = run.summary()
    assert len(lines) > 3
    assert max(map(len, lines)) <= stages.WIDTH


def test_a_play_without_roles_is_a_stage(run: Run) -> None:
    run.task("", "Do something")
    run.ok("localhost", changed=True)
    assert run.summary() == ["Make it so   changed"]


def test_check_mode_says_so_first_and_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages.context, "CLIARGS", {"check": True})
    run = Run()
    run.callback.v2_playbook_on_start(None)
    run.task("converge", "Add what is missing")
    run.ok("worker-1", changed=True)
    lines = run.end()
    assert lines[0] == "check mode: nothing is changed"
    assert lines[-2:] == [
        "summary (check mode: nothing was changed)",
        "converge     1 node: 1 would change",
    ]


def test_handled_failures_are_told_apart(run: Run) -> None:
    run.task("converge", "Break")
    run.failed("worker-1", msg="broken")
    assert "1 of the failures handled" in run.end(rescued=1)[-1]


def test_progress_is_written_in_place_on_a_terminal_only(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.task("converge", "Read")
    assert capsys.readouterr().out == ""
    run.callback._terminal = True
    run.ok("worker-1")
    assert "Read  1/3\x1b[K\r" in capsys.readouterr().out
