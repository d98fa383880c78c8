from __future__ import annotations

import re

import pytest

from edgekd.units import format_age, format_bytes, format_seconds, format_times, parse_age, parse_bytes


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2, "1.0 MiB"),
        (650_000, "634.8 KiB"),  # 650,000 / 1,024 = 634.77
        (94_000_000, "89.6 MiB"),  # 94e6 / 1,048,576 = 89.65
        (3 * 1024**3, "3.0 GiB"),
        (5000 * 1024**3, "5000.0 GiB"),
    ],
)
def test_bytes(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (0.25, "0.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (60.0, "1 min 00 s"),
        (75.0, "1 min 15 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (3661.0, "1 h 01 min"),
        (200_000.0, "55 h 33 min"),  # 55 * 3,600 = 198,000; 2,000 / 60 = 33
    ],
)
def test_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("ratio", "text"), [(156.4, "156×"), (2.34, "2.3×"), (9.94, "9.9×"), (9.96, "10×"), (10.0, "10×"), (0.5, "0.5×")]
)
def test_times(ratio: float, text: str) -> None:
    assert format_times(ratio) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (7300, "2 h ago"),
        (86_399, "23 h ago"),
        (90_000, "1 d ago"),
    ],
)
def test_format_age(seconds: float, text: str) -> None:
    assert format_age(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30d", 2_592_000), ("1.5h", 5_400), ("90m", 5_400), ("2 min", 120), ("5s", 5), ("1W", 604_800)],
)
def test_parse_age(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("12", 12),
        ("1KiB", 1024),
        ("5GiB", 5 * 2**30),
        ("500MB", 500_000_000),
        ("2g", 2**31),
        ("1.5 KB", 1500),
    ],
)
def test_parse_bytes(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "d", "-1d", "1y", "1d2h", "1,5h", "30"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text) or "^$"):
        parse_age(text)


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1PB", "1 Gi B"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text) or "^$"):
        parse_bytes(text)
