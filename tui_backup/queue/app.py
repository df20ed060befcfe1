"""The procrastinate application on the catalog's queue schema."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import procrastinate
from procrastinate.connector import Notify
from psycopg.conninfo import conninfo_to_dict

from tui_backup.queue.names import SCHEMA

_POOL_TIMEOUT_S = 10.0
_LINE = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


def queue_settings(conninfo: str) -> dict[str, Any]:
    """Connection keywords for the queue: the string's own, with the search path that procrastinate's SQL needs.

    Args:
        conninfo: the agent's login on the catalog.
    """
    given = conninfo_to_dict(conninfo)
    # the last -c of a name wins, so the user's other options stay
    options = f"{given.get('options') or ''} -c search_path={SCHEMA},pg_catalog".strip()
    return {**_LINE, **given, "options": options, "application_name": "tui-backup queue"}


_NEW_WORK = '{"type": "job_inserted", "job_id": 0}'


class _Connector(procrastinate.PsycopgConnector):
    """Believes a notification only so far that there may be new work.

    Every login of the database may NOTIFY on any channel. As it came, a forged one would abort another tenant's run,
    and one that is no JSON would end the agent's listening. What is to be aborted is read from the queue's own rows,
    which the worker does every few seconds anyway.
    """

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Listen until cancelled."""

        async def look(*, channel: str, payload: str) -> None:
            await on_notification(channel=channel, payload=_NEW_WORK)

        await super().listen_notify(look, channels)


def make_app(conninfo: str) -> procrastinate.App:
    """An app whose tasks are still to be registered; open it with ``async with app.open_async()``.

    Args:
        conninfo: the agent's login on the catalog.
    """
    connector = _Connector(
        conninfo="", kwargs=queue_settings(conninfo), min_size=1, max_size=4, timeout=_POOL_TIMEOUT_S
    )
    return procrastinate.App(connector=connector)
