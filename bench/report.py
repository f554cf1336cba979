"""The table and the plot: each figure beside its rival and beside its goal."""
import statistics
from dataclasses import dataclass
from xml.sax.saxutils import escape


@dataclass
class Figure:
    what: str
    value: float
    unit: str
    goal: float
    at_most: bool = False  # the goal is a limit from above
    beside: str = ""       # what it was measured against, in words
    noise: float = 0       # of the single runs: (most - least) / median

    def met(self):
        return self.value <= self.goal if self.at_most else self.value >= self.goal

    def share(self):
        """Of the goal: 1 is just met; more is better."""
        if self.value == 0:
            return 0.0
        return self.goal / self.value if self.at_most else self.value / self.goal


def median(results, name):
    return statistics.median(r[name] for r in results)


def noise(results, name="rate"):
    values = [r[name] for r in results]
    return (max(values) - min(values)) / statistics.median(values)


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


class Figures:
    def __init__(self):
        self.all = []

    def add(self, *arguments, **more):
        self.all.append(Figure(*arguments, **more))

    def beside_null(self, results, prefix, connections):
        null = results[f"{prefix}null"]
        for name, words, goal in (("away", "data plane away", 0.75), ("draining", "draining meanwhile", 0.60)):
            ours, words = results[f"{prefix}{name}"], f"{words}, {connections:,} connections"
            rate, p99 = median(ours, "rate"), median(ours, "p99_ms")
            self.add(f"accepting, {words}: share of the null responder's rate", rate / median(null, "rate"), "", goal,
                     beside=f"{number(rate)}/s of {number(median(null, 'rate'))}/s; {median(ours, 'cpu_us'):.0f} us of CPU "
                            f"a request beside the null's {median(null, 'cpu_us'):.0f}; a sync took "
                            f"{median(ours, 'sync_ms'):.2f} ms", noise=noise(ours))
            self.add(f"accepting, {words}: p99, as a multiple of the null's", p99 / median(null, "p99_ms"), "x", 3,
                     at_most=True, beside=f"{p99:.2f} ms of {median(null, 'p99_ms'):.2f} ms; p50 "
                                          f"{median(ours, 'p50_ms'):.2f} of {median(null, 'p50_ms'):.2f}",
                     noise=noise(ours, "p99_ms"))

    def accepting(self, results, connections, many):
        self.beside_null(results, "", connections)
        self.beside_null(results, "many, ", many)
        for name, words, goal in (("page open", "the status page open", 0.98), ("confined", "confined threads", 0.99)):
            pairs = list(zip(results[name], results["away"]))
            shares = [with_it["rate"] / away["rate"] for with_it, away in pairs]
            self.add(f"accepting with {words}, share of that without", statistics.median(shares), "", goal,
                     beside=f"CPU a request: {statistics.median(w['cpu_us'] / a['cpu_us'] for w, a in pairs):.3f} of "
                            "that without; medians of pairs", noise=max(shares) - min(shares))
        for name, ours, words, goal in (
                ("php", "draining", f"PHP-FPM, posting synchronously, {connections} connections", 4.5),
                ("many, php", "many, draining", f"PHP-FPM, posting synchronously, {many:,} connections", 4.5),
                ("php far", "draining far", "PHP-FPM, the data plane 50 ms away", 4),
                ("node", "draining", "Node, Express and the SDK", 7)):
            if name in results:
                rate, theirs = median(results[ours], "rate"), median(results[name], "rate")
                self.add(f"accepting and draining, times {words}", rate / theirs, "x", goal,
                         beside=f"{number(rate)}/s and {number(theirs)}/s", noise=noise(results[name]))

    def crowded(self, results):
        (_, alone), (size, beside) = results.items()
        self.add(f"accepting beside {size:,} clients that send a byte a second: p99, times that without",
                 median(beside, "p99_ms") / median(alone, "p99_ms"), "x", 2, at_most=True,
                 beside=f"{median(beside, 'p99_ms'):.2f} ms and {median(alone, 'p99_ms'):.2f} ms; "
                        f"{number(median(beside, 'rate'))}/s of {number(median(alone, 'rate'))}/s; "
                        f"{sum(r['failures'] for r in beside):.0f} failures", noise=noise(beside, "p99_ms"))

    def cgi(self, results, names):
        """Of the events that others forward, too: what a living process, or the child of a burst, spares."""
        for server in ("lighttpd", "Apache"):
            for ours, way, words in ((names.FORWARDED, "one", "one event, a process forwards"),
                                     (names.OURS, "burst", f"each of {names.BURST}, over {names.CONNECTIONS} connections"),
                                     (names.OURS, "one", "one event, the child that forwards it included")):
                us, null = results[server, ours, way], results[server, names.NULL, way]
                self.add(f"CGI, {server}, {words}: times a null CGI program", us / null, "x", 5, at_most=True,
                         beside=f"{us:.0f} us of CPU and {null:.0f}")
                php = results.get((server, names.PHP, way))
                if php:
                    self.add(f"CGI, {server}, {words}: share of php-cgi", us / php, "", 0.5, at_most=True,
                             beside=f"{us:.0f} us of CPU and {php:.0f}")

    def idle(self, result, size):
        self.add("memory of a process that has only accepted", result["accepted"], "MB", 9, at_most=True,
                 beside=f"{result['accepted_own']:.1f} MB of its own")
        self.add(f"memory of its own, an idle process of a pool of {size}", result["idle"], "MB", 3, at_most=True,
                 beside=f"Pss {result['idle_pss']:.1f} MB")

    def grown(self, drained, accepted, opened):
        empty, full = median(drained["empty"], "rate"), median(drained["remembering"], "rate")
        cpu = {name: median(drained[name], "cpu_us") for name in drained}
        self.add("draining with 20,000,000 remembered, share of that with none", full / empty, "", 0.9,
                 beside=f"{number(full)}/s of {number(empty)}/s; {cpu['remembering']:.0f} us of CPU an event beside "
                        f"{cpu['empty']:.0f}", noise=noise(drained["remembering"]))
        self.add("memory after it", median(drained["remembering"], "rss"), "MB", 32, at_most=True,
                 beside=f"at most {max(r['most'] for r in drained['remembering']):.1f} MB")
        empty, full = median(accepted["empty"], "rate"), median(accepted["large"], "rate")
        self.add("accepting with a queue of 8 GB, share of that with none", full / empty, "", 0.95,
                 beside=f"{number(full)}/s of {number(empty)}/s; {median(accepted['large'], 'cpu_us'):.0f} us of CPU a "
                        f"request beside {median(accepted['empty'], 'cpu_us'):.0f}", noise=noise(accepted["large"]))
        for what in ("request", "command"):
            self.add(f"a {what} that opens it, more than with none",
                     max(0.01, opened["large", what] - opened["empty", what]), "ms", 10, at_most=True,
                     beside=f"{opened['large', what]:.1f} ms and {opened['empty', what]:.1f} ms")

    def draining(self, results, filled):
        for delay, goal in ((0, 25_000), (50, 20_000)):
            one = results[delay]
            self.add(f"draining 200,000, answers after {delay} ms", median(one, "rate"), "/s", goal,
                     beside=f"{median(one, 'cpu_us'):.0f} us of CPU an event; the real data plane takes 20,700/s; filled at "
                            f"{number(median(filled, 'rate'))}/s",
                     noise=noise(one))
        every = results[0] + results[50]
        self.add("memory after 200,000", median(every, "rss"), "MB", 16, at_most=True,
                 beside=f"{median(every, 'own'):.1f} MB of its own; at most {max(r['most'] for r in every):.1f} MB",
                 noise=noise(every, "rss"))

    def machines(self, results):
        """queue = postgresql, with a synchronous standby on the same machine."""
        one, three, drained, settled = results["one"], results["three"], results["drain"], results["settled"][0]
        rate, now = median(one, "rate"), median(results["sqlite"], "rate")
        figures = f"{number(rate)}/s; the servers take {median(one, 'servers_us'):.0f} us of CPU an event"
        alone, together = (median(results[f"engine {n}"], "rate") for n in (1, 3))
        if "before" in results:
            before = median(results["before"], "rate")
            self.add("PostgreSQL, accepting: share of SQLite's rate before the work on speed", rate / before, "", 0.6,
                     beside=f"{figures}; SQLite's {number(before)}/s", noise=noise(one))
        self.add("PostgreSQL, accepting: share of SQLite's rate today", rate / now, "", 0.6,
                 beside=f"{figures}; SQLite's {number(now)}/s", noise=noise(one))
        self.add("PostgreSQL, accepting: the program's CPU, times SQLite's", median(one, "cpu_us") /
                 median(results["sqlite"], "cpu_us"), "", 1, at_most=True, noise=noise(one, "cpu_us"),
                 beside=f"{median(one, 'cpu_us'):.0f} us and {median(results['sqlite'], 'cpu_us'):.0f} us")
        self.add("PostgreSQL, appending: three processes, times one", together / alone, "x", 1.3,
                 beside=f"{number(together)}/s and {number(alone)}/s by the engine alone", noise=noise(results["engine 3"]))
        self.add("PostgreSQL, accepting: three front ends, times one", median(three, "rate") / rate, "x", 1.3,
                 beside=f"{number(median(three, 'rate'))}/s; web servers, client and database on the same processors, "
                        f"{median(one, 'busy'):.0%} busy with one; the servers take {median(three, 'servers_us'):.0f} us",
                 noise=noise(three))
        few = [together["rate"] / alone["rate"] for together, alone in zip(results["few, three"], results["few, one"])]
        self.add("PostgreSQL, accepting: three front ends, times one, 16 connections each", statistics.median(few), "x",
                 1.3, noise=max(few) - min(few),
                 beside=f"{number(median(results['few, three'], 'rate'))}/s and "
                        f"{number(median(results['few, one'], 'rate'))}/s, processors "
                        f"{median(results['few, one'], 'busy'):.0%} busy with one; medians of pairs")
        self.add("PostgreSQL, draining 200,000", median(drained, "rate"), "/s", 25_000, noise=noise(drained),
                 beside=f"{median(drained, 'cpu_us'):.0f} us of CPU an event, the servers' {median(drained, 'servers_us'):.0f}")
        self.add(f"PostgreSQL, tables after {settled['events']:,} events, without identities", settled["mb"], "MB", 100,
                 at_most=True, beside=f"{settled['known_mb']:.0f} MB of identities")

    def long_ones(self, results):
        drained = next(f for f in self.all if f.what.startswith("draining 200,000, answers after 0"))
        memory = next(f for f in self.all if f.what.startswith("memory after"))
        self.add("memory after 2,000,000", results["rss"], "MB", 16, at_most=True,
                 beside=f"{results['own']:.1f} MB of its own; {memory.value:.1f} MB after 200,000; at most "
                        f"{results['most']:.1f} MB")
        self.add("accepting with 2,000,000 waiting, share of that with none", results["accept_full"] / results["accept_empty"],
                 "", 0.9, beside=f"{number(results['accept_full'])}/s of {number(results['accept_empty'])}/s")
        self.add("draining with 2,000,000 remembered, share of that with none", results["drain_known"] / drained.value, "",
                 0.9, beside=f"{number(results['drain_known'])}/s of {number(drained.value)}/s")

    def print(self):
        width = max(len(f.what) for f in self.all)
        print(f"{'':{width}}  {'measured':>10}  {'goal':>10}         runs differ by  beside")
        for f in self.all:
            goal = ("<= " if f.at_most else ">= ") + number(f.goal)
            print(f"{f.what:{width}}  {number(f.value) + f.unit:>10}  {goal:>10}  {'met' if f.met() else 'MISSED':6} "
                  f"{f.noise * 100:12.0f} %  {f.beside}")

    def draw(self, path):
        """Bars: each figure as a share of its goal, so that all stand on one scale, longer is better."""
        row, left, top, width, most = 50, 20, 70, 900, 2.5
        height, scale = top + row * len(self.all) + 10, 560 / most
        goal_at = left + scale
        parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">',
                 f'<rect width="{width}" height="{height}" fill="white"/>',
                 f'<text x="{left}" y="28" font-size="18">closecrm.fcgi: speed beside its goals</text>',
                 f'<text x="{left}" y="48" font-size="12" fill="#555">A bar that reaches the mark meets its goal; '
                 f'longer is better; beyond {most} times the goal it is cut.</text>']
        for i, f in enumerate(self.all):
            y, length = top + row * i, max(1.0, min(f.share(), most) * scale)
            color = "#3a7d44" if f.met() else "#b3392f"
            goal = ("at most " if f.at_most else "at least ") + number(f.goal) + f.unit
            parts += [f'<text x="{left}" y="{y + 12}" font-size="12">{escape(f.what)}'
                      f'<tspan fill="#777" dx="8">{escape(f.beside.split(";")[0])}</tspan></text>',
                      f'<rect x="{left}" y="{y + 18}" width="{length:.1f}" height="14" fill="{color}"/>',
                      f'<line x1="{goal_at:.1f}" y1="{y + 15}" x2="{goal_at:.1f}" y2="{y + 35}" stroke="#222" '
                      'stroke-width="2"/>',
                      f'<text x="{max(left + length, goal_at) + 8:.1f}" y="{y + 30}" font-size="12">'
                      f'{number(f.value)}{f.unit}, goal {goal}</text>']
        parts.append("</svg>")
        path.write_text("\n".join(parts) + "\n")
