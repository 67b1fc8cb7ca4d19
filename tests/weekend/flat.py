"""Whether a series of samples stays level. What grows shows in its slope, what leaps in its ceiling."""

from typing import NamedTuple


class Bound(NamedTuple):
    share: float   # of the level
    spare: float   # and so much beside it
    def of(self, level: float) -> float: return level * self.share + self.spare


def slope(samples: list[tuple[float, float]]) -> float:
    """Least squares."""
    count = len(samples)
    middle_x = sum(x for x, _ in samples) / count
    middle_y = sum(y for _, y in samples) / count
    spread = sum((x - middle_x) ** 2 for x, _ in samples)
    return sum((x - middle_x) * (y - middle_y) for x, y in samples) / spread


def grows(samples: list[tuple[float, float]], growth: Bound, leap: Bound) -> str:
    """What is wrong with (second, value) samples; nothing if they are level."""
    assert len(samples) >= 10, f"only {len(samples)} samples"
    mean = sum(y for _, y in samples) / len(samples)
    grown = slope(samples) * (samples[-1][0] - samples[0][0])
    if grown > growth.of(mean):
        return f"grows by {grown:.0f} over the run, level {mean:.0f}, at most {growth.of(mean):.0f} are accepted"
    early = max(y for _, y in samples[:max(len(samples) // 3, 1)])
    late = max(y for _, y in samples)
    if late - early > leap.of(early):
        return f"reaches {late:.0f}, in its first third {early:.0f}, at most {leap.of(early):.0f} more are accepted"
    return ""


def test() -> None:
    """That it can fail."""
    growth, leap = Bound(0.05, 2), Bound(0.1, 5)
    level = [(float(x), 100.0 + x % 7) for x in range(300)]
    assert not grows(level, growth, leap)
    assert "grows" in grows([(x, y + x / 10) for x, y in level], growth, leap)
    assert "grows" in grows([(x, y * (1 + x / 3000)) for x, y in level], growth, leap)
    assert "reaches" in grows([(x, y + 50 * (x == 250)) for x, y in level], growth, leap)
