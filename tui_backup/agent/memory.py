"""How the process gives memory back: an agent runs for months, its largest backup must not decide what it keeps."""

from __future__ import annotations

import ctypes
import sys

# glibc's malloc.h
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 512 * 1024


def give_back_large_blocks() -> None:
    """Let glibc map every block from 512 KiB on by itself, so that it is gone when it is freed.

    By default the limit grows up to 32 MiB with what was freed before, and packs and frames then leave holes in the
    heap: a backup of 1 GB peaked at about 20 MB more. Other C libraries have no such call.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
