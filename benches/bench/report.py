"""The table: medians over the rounds."""

import statistics

#: Figures in their order, with how they are written.
COLUMNS = [
    ("rate", "a second", "{:,.0f}"),
    ("rate_of_first", "of the first", "{:.2f}"),
    ("of_bare", "of bare", "{:.2f}"),
    ("of_allowed", "of allowed", "{:.2f}"),
    ("cpu_us", "CPU µs", "{:.1f}"),
    ("cpu_percent", "CPU %", "{:.2f}"),
    ("switches", "switches", "{:.2f}"),
    ("written", "bytes written", "{:,.0f}"),
    ("flushes", "syncs", "{:.3f}"),
    ("p50_ms", "p50 ms", "{:.2f}"),
    ("p99_ms", "p99 ms", "{:.2f}"),
    ("p50_of_alone", "p50 of alone", "{:.2f}"),
    ("p99_of_alone", "p99 of alone", "{:.2f}"),
    ("waiting_mib", "MiB waiting", "{:,.0f}"),
    ("restart_s", "restart s", "{:.1f}"),
    ("resident_mib", "MiB", "{:,.0f}"),
    ("resident_of_first", "MiB of the first", "{:.2f}"),
    ("disk", "bytes on disk", "{:,.0f}"),
]


def medians(rows):
    """One row of many."""
    names = [name for name, _, _ in COLUMNS if any(name in row for row in rows)]
    return {name: statistics.median(row[name] for row in rows if name in row) for name in names}


def table(results):
    """Markdown of `(name, goal, rows)`."""
    found = [(name, goal, medians(rows)) for name, goal, rows in results]
    shown = [column for column in COLUMNS if any(column[0] in row for _, _, row in found)]
    lines = ["| workload | goal | " + " | ".join(title for _, title, _ in shown) + " |"]
    lines.append("|---" * (len(shown) + 2) + "|")
    for name, goal, row in found:
        cells = [form.format(row[key]) if key in row else "" for key, _, form in shown]
        lines.append(f"| {name} | {goal} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
