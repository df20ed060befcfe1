"""`agent run|start|stop|status|unit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_backup.cli.output import plain
from tui_backup.cli.parser import Commands, add_command, add_group, folder
from tui_backup.cli.text import Column, local_time
from tui_backup.errors import TuiBackupError

if TYPE_CHECKING:
    from argparse import Namespace

    from tui_backup.cli.context import Context
    from tui_backup.model import AgentInfo


def add_commands(commands: Commands) -> None:
    """Add `agent …`."""
    group = add_group(commands, "agent", "run, start, stop or look at the agent, which does the work")
    add_command(group, "run", run, "run the agent in the foreground (what systemd starts)", is_printing=False)
    add_command(group, "start", start, "start a detached agent on this machine")
    add_command(group, "stop", stop, "stop this installation's agent; its running jobs are handed back")
    add_command(group, "status", status, "say whether an agent is alive; exit status 1 when none is")
    unit = add_command(group, "unit", print_unit, "print a systemd unit for the agent", is_printing=False)
    unit.add_argument("--user", default="tui-backup", help="account that runs the agent (default: %(default)s)")
    unit.add_argument("--config", metavar="FILE", type=folder, help="configuration file, when not the account's own")


def run(context: Context, arguments: Namespace) -> int:
    """Run the agent until it is told to stop."""
    from tui_backup.agent.main import run_agent

    return run_agent(context.config)


async def start(context: Context, arguments: Namespace) -> None:
    """Start a detached agent."""
    from tui_backup.services.agents import start_agent

    pid = await start_agent(context.config)
    log = context.config.agent_log
    if context.output.is_json:
        context.output.data({"running": True, "pid": pid, "log": log})
    else:
        context.output.line(f"The agent runs (process {pid}). Its log: {log}")


async def stop(context: Context, arguments: Namespace) -> None:
    """Stop this installation's agent."""
    from tui_backup.services.agents import stop_agent

    stopped = await stop_agent(context.config)
    if context.output.is_json:
        context.output.data({"stopped": stopped})
    else:
        context.output.line("The agent has stopped." if stopped else "No agent of this installation was running.")


async def status(context: Context, arguments: Namespace) -> int:
    """Show this installation's agent and those the catalog knows."""
    from tui_backup.services.agents import agent_status, get_agents

    here = await agent_status(context.config)
    agents: list[AgentInfo] = []
    unreachable: TuiBackupError | None = None
    try:
        async with context.session() as session:
            agents = await get_agents(session)
    except TuiBackupError as exc:
        unreachable = exc
    is_alive = any(agent.is_alive for agent in agents) if unreachable is None else here.running
    if context.output.is_json:
        listed = [{**plain(agent), "is_alive": agent.is_alive} for agent in agents]
        failure = unreachable.to_json() if unreachable else None
        context.output.data({**plain(here), "agents": listed, "catalog_error": failure})
    else:
        _show_status(context, here.running, here.pid, agents)
        if unreachable is not None:
            context.output.error(unreachable)
    return 0 if is_alive else 1


def _show_status(context: Context, running: bool, pid: int | None, agents: list[AgentInfo]) -> None:
    from tui_backup.services.utilities import clean_text, format_age

    output = context.output
    output.line(f"This installation's agent: {f'running (process {pid})' if running else 'not running'}")
    output.line(f"Its log: {context.config.agent_log}")
    output.line()
    columns = [Column("Status"), Column("Host", flexible=True), Column("Process", right=True), Column("Version")]
    columns += [Column("Since"), Column("Last sign of life")]
    output.table(
        columns,
        [
            [
                output.status("ok", "alive") if agent.is_alive else output.status("unknown", "silent"),
                clean_text(agent.host),
                str(agent.pid),
                clean_text(agent.version),
                local_time(agent.started_at),
                f"{format_age(agent.age_seconds)} ago",
            ]
            for agent in agents
        ],
        empty="The catalog has heard of no agent. Start one: tui-backup agent start",
    )


def print_unit(context: Context, arguments: Namespace) -> None:
    """Print the unit."""
    from tui_backup.agent.systemd import unit_text

    context.output.line(unit_text(user=arguments.user, config_file=arguments.config).rstrip("\n"))
