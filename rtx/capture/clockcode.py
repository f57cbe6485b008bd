"""The layout of the capture clock: which of 64 columns are white, and where they lie. Needs no numpy."""

from __future__ import annotations

import binascii

from rtx.clock import NS_PER_MS

COLUMNS = 64
"""48 bits of milliseconds, then 16 bits of checksum, most significant first."""


def bits(t_ns: int) -> list[int]:
    """64 bits, each 0 or 1, for a monotonic time in ns (kept to the millisecond)."""
    payload = (t_ns // NS_PER_MS).to_bytes(6, "big")
    word = int.from_bytes(payload + binascii.crc_hqx(payload, 0xFFFF).to_bytes(2, "big"), "big")
    return [word >> (COLUMNS - 1 - i) & 1 for i in range(COLUMNS)]


def time(columns: list[int]) -> int | None:
    """The time in ns of 64 bits; None where the checksum does not hold."""
    word = 0
    for bit in columns:
        word = word << 1 | bit
    payload = (word >> 16).to_bytes(6, "big")
    if binascii.crc_hqx(payload, 0xFFFF) != word & 0xFFFF:
        return None
    return int.from_bytes(payload, "big") * NS_PER_MS


def edges(width: int) -> list[int]:
    """The 65 edges of the columns, in pixels."""
    return [round(i * width / COLUMNS) for i in range(COLUMNS + 1)]


def row_height(width: int) -> int:
    """Pixels in each of the two rows: a bit's own cell above, its opposite below."""
    return max(1, round(width / COLUMNS))
