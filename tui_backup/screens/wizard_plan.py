"""The restore wizard's last two questions: the plan with its checks, and the red confirmation."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Checkbox, Input, Label

from tui_backup.model import PlanTable, Proof, RestorePlan, RestoreRequest, RestoreTarget
from tui_backup.screens.base import set_text, text
from tui_backup.screens.formats import exact_time, number
from tui_backup.screens.host import Host, host_of
from tui_backup.screens.waiting import Waiting
from tui_backup.services.utilities import format_age, format_bytes
from tui_backup.widgets.controls import Field, PlainButton, PlainCheckbox
from tui_backup.widgets.detail_pane import STYLES
from tui_backup.widgets.live_table import LiveTable
from tui_backup.widgets.plain_input import PlainInput
from tui_backup.widgets.symbols import check_tone
from tui_backup.widgets.table_model import Cell, Column, Row
from tui_backup.widgets.text import shown

PLAN_COLUMNS = (
    Column("table", "Table", 16, most=60),
    Column("now", "Rows now", 13, align="right", descending=True),
    Column("after", "Rows after", 12, align="right", descending=True),
    Column("change", "Change", 20, most=40),
)
REPLACES = (RestoreTarget.SWAP, RestoreTarget.IN_PLACE)


def where_words(plan: RestorePlan) -> str:
    """Where a restore goes, as a sentence."""
    place = f"{plan.database} @ {plan.server}"
    return f"schema {plan.schema} in {place}" if plan.schema else place


class PlanStep(Vertical):
    """Step 3: what will happen, and what was checked."""

    def __init__(self) -> None:
        super().__init__(id="step-3")

    @property
    def host(self) -> Host:
        """The application."""
        return host_of(self)

    def compose(self) -> ComposeResult:
        """Waiting line, words, checks, tables."""
        yield Waiting(id="plan-waiting")
        yield text("", id="plan-words")
        yield text("", id="plan-checks")
        yield LiveTable(PLAN_COLUMNS, symbols=self.host.symbols, id="plan-tables")

    def wait(self) -> None:
        """The plan is being made."""
        self.query_one("#plan-waiting", Waiting).wait_for("Checking")
        for part in ("#plan-words", "#plan-checks", "#plan-tables"):
            self.query_one(part).display = False

    def fail(self, words: str) -> None:
        """The plan could not be made."""
        self.query_one("#plan-waiting", Waiting).say(words, wrong=True)

    def show_plan(self, plan: RestorePlan) -> None:
        """Show the plan."""
        refused = plan.refused
        words = f"Refused: {len(refused)} reason(s) below." if refused else "Everything was checked. Next: confirm."
        self.query_one("#plan-waiting", Waiting).say(words, wrong=bool(refused))
        free = "unknown" if plan.bytes_free is None else format_bytes(plan.bytes_free)
        parts: list[str | tuple[str, str]] = [
            ("Into  ", "bold"),
            shown(where_words(plan)),
            ("\nWhy   ", "bold"),
            shown(plan.reason),
            ("\nRoom  ", "bold"),
            f"needs {format_bytes(plan.bytes_needed)}, free {free}",
            ("\nEnds  ", "bold"),
            f"{plan.sessions} session(s)" if plan.target in REPLACES else "no session",
            ("\nUndo  ", "bold"),
            shown(plan.undo or "not needed: nothing is replaced"),
        ]
        set_text(self.query_one("#plan-words"), Content.assemble(*parts))
        checks: list[str | tuple[str, str]] = []
        order = {"refused": 0, "warning": 1}
        for check in sorted(plan.checks, key=lambda check: order.get(check.level, 2)):
            status, tone = check_tone(check.level)
            glyph = self.host.symbols.glyph(status)
            checks += [(f"{glyph} {check.level:<8}", STYLES.get(tone, "")), f"{shown(check.name)}: "]
            checks += [shown(" ".join(check.message.split())), "\n"]
        set_text(self.query_one("#plan-checks"), Content.assemble(*checks))
        table = self.query_one("#plan-tables", LiveTable)
        table.set_rows(plan_rows(plan))
        table.styles.height = min(max(table.row_count, 1) + 1, 14)
        for part in ("#plan-words", "#plan-checks", "#plan-tables"):
            self.query_one(part).display = True


def plan_rows(plan: RestorePlan) -> list[Row]:
    """The plan's tables: rows now and rows afterwards."""
    rows: list[Row] = []
    for table in plan.tables:
        about = "~" if table.rows_now_is_estimate else ""
        now = "not there" if table.rows_now is None else f"{about}{table.rows_now:,}"
        cells = (
            Cell(table.name),
            Cell(now, sort=table.rows_now),
            Cell(number(table.rows_in_backup), sort=table.rows_in_backup),
            Cell(change_words(table)),
        )
        rows.append(Row(table.name, cells, rank=(-table.rows_in_backup, table.name)))
    return rows


def change_words(table: PlanTable) -> str:
    """What becomes of one tenant's rows in a table, empty where whole tables are replaced."""
    if table.rows_same is None:
        return ""
    parts = ((table.rows_delete, "deleted"), (table.rows_insert, "inserted"), (table.rows_update, "changed"))
    return ", ".join(f"{rows:,} {word}" for rows, word in parts if rows) or "none"


def _interest(table: PlanTable) -> tuple[bool, int]:
    """The tables that change most come first."""
    return table.rows_now == table.rows_in_backup, -abs(table.rows_in_backup - (table.rows_now or 0))


class RiskButton(PlainButton):
    """Pressed by Space or a click, never by Enter: Enter is what a tired hand presses."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "explain", show=False),
        Binding("space", "press", show=False),
    ]

    def action_explain(self) -> None:
        """Say which key it is."""
        host_of(self).toast("Enter never confirms a restore. Press Space on the button.")


class ConfirmStep(Vertical):
    """Step 4: red, Cancel focused, Restore disabled until the box is ticked and the name typed where it is asked."""

    class Confirmed(Message):
        """Everything asked for was done and Restore pressed."""

    class Cancelled(Message):
        """Cancel was pressed."""

    def __init__(self) -> None:
        super().__init__(id="step-4")
        self.expected: str | None = None
        self._plan: RestorePlan | None = None

    @property
    def host(self) -> Host:
        """The application."""
        return host_of(self)

    def compose(self) -> ComposeResult:
        """What is replaced, which may scroll; the box and the name, which are always in sight."""
        with VerticalScroll(id="confirm-scroll"):
            yield text("", id="confirm-words")
        yield text("", id="confirm-type")
        yield PlainCheckbox("I understand the risks", False, id="risks")
        yield Field("Name", PlainInput(id="confirm-name"), id="confirm-name-field")
        yield Waiting(id="confirm-progress", classes="hint")

    def take(self, plan: RestorePlan, request: RestoreRequest) -> None:
        """Ask for this plan; whatever was ticked or typed for another one is void."""
        if plan is self._plan:
            self._decide()
            return
        self._plan = plan
        replaces = plan.target in REPLACES
        self.expected = shown(plan.database) if replaces else None
        self.border_title = "THIS REPLACES LIVE DATA" if replaces else "Confirm the restore"
        self.set_class(replaces, "-replaces")
        self.query_one("#risks", PlainCheckbox).value = False
        self.query_one("#confirm-name", PlainInput).value = ""
        self.query_one("#confirm-name-field").display = replaces
        typed = Content.assemble("Type the target's name: ", (self.expected, "bold")) if self.expected else Content("")
        self.query_one("#confirm-type").display = replaces
        set_text(self.query_one("#confirm-type"), typed)
        self.query_one("#confirm-progress", Waiting).say("Space on Restore confirms; Enter never does.")
        set_text(self.query_one("#confirm-words", Label), self._words(plan, request))
        self._decide()

    def _words(self, plan: RestorePlan, request: RestoreRequest) -> Content:
        job = plan.job
        taken = exact_time(job.started_at or job.created_at)
        proof = "not proven yet" if job.proof is Proof.NONE else f"proof: {job.proof}"
        if job.proof_at is not None:
            proof += f" {format_age((self.host.board.now() - job.proof_at).total_seconds())} ago"
        parts: list[str | tuple[str, str]] = [
            ("FROM  ", "bold"),
            shown(f"{job.source_name}  {taken}  {format_bytes(job.backup_size)}  {proof}"),
            ("\nINTO  ", "bold"),
            shown(where_words(plan)),
        ]
        for warning in self._warnings(plan, request, taken):
            parts += ["\n", (f"{self.host.symbols.late} ", STYLES["warn"]), shown(warning)]
        for table in sorted(plan.tables, key=_interest)[:6]:
            about = "~" if table.rows_now_is_estimate else ""
            now = "not there" if table.rows_now is None else f"{about}{table.rows_now:,} rows now"
            parts += ["\n      ", shown(f"{table.name}  {now} -> {table.rows_in_backup:,}")]
            if words := change_words(table):
                parts.append(f" ({words})")
        if len(plan.tables) > 6:
            parts.append(f"\n      and {len(plan.tables) - 6} more tables (step 3 lists all)")
        parts += [("\nUNDO  ", "bold"), shown(plan.undo or "not needed: nothing is replaced")]
        return Content.assemble(*parts)

    @staticmethod
    def _warnings(plan: RestorePlan, request: RestoreRequest, taken: str) -> list[str]:
        warnings = [f"{check.name}: {check.message}" for check in plan.checks if check.level == "warning"]
        if plan.target in REPLACES:
            warnings.insert(0, f"What was written after {taken} is not in the backup.")
        if plan.target is RestoreTarget.SWAP and plan.sessions:
            warnings.insert(1, f"{plan.sessions} session(s) on {plan.database} are ended.")
        if plan.target is RestoreTarget.IN_PLACE and not request.safety_backup:
            warnings.insert(1, "No safety backup is made first.")
        if not request.compare:
            warnings.append("The result is not compared with the backup.")
        return warnings

    @property
    def ready(self) -> bool:
        """Whether the box is ticked and the name typed."""
        typed = self.query_one("#confirm-name", PlainInput).value.strip()
        return self.query_one("#risks", PlainCheckbox).value and self.expected in (None, typed)

    @on(Checkbox.Changed, "#risks")
    @on(Input.Changed, "#confirm-name")
    def _decide(self) -> None:
        for button in self.screen.query("#restore").results(Button):
            button.disabled = not self.ready
