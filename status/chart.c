/* Charts as inline SVG. Each is a line or an area over time, with a scale of round numbers. */
#include "status/status_private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"

#define POINTS_MOST 96
#define ROWS 12 /* of a chart as numbers */
#define WIDTH 420
#define HEIGHT 170
#define LEFT 52
#define RIGHT 414
#define TOP 12
#define BOTTOM 140
#define NOTHING (-1.0) /* a point without a value */

struct chart_series {
    const char *name;
    const char *style; /* class in page.css */
    bool area;
    double value[POINTS_MOST];
};

/* How a scale's numbers are written: from `least` on divided by `unit`. */
struct chart_unit {
    double unit;
    const char *word;
};

struct chart_scale {
    const struct chart_unit *units; /* the largest first, the last one has unit 1 */
    double least;                   /* the scale's top is never less */
};

static const struct chart_unit count_units[] = {{1e6, "M"}, {1e3, "k"}, {1, ""}};
static const struct chart_unit delay_units[] = {
    {86400e3, " d"}, {3600e3, " h"}, {60e3, " min"}, {1e3, " s"}, {1, " ms"}};
static const struct chart_unit size_units[] = {{1048576, " MiB"}, {1024, " KiB"}, {1, " B"}};

static const struct chart_scale counts = {count_units, 4}, delays = {delay_units, 100}, sizes = {size_units, 64};

/* A span of time that charts show. */
struct chart_window {
    const char *name;
    size_t minutes, points;
    const char *label[5];
};

static const struct chart_window windows[] = {
    {"hour", 60, 60, {"1 h ago", "45 min", "30 min", "15 min", "now"}},
    {"day", 1440, 96, {"24 h ago", "18 h", "12 h", "6 h", "now"}},
};

static const struct chart_unit *unit_for(const struct chart_scale *scale, double top)
{
    const struct chart_unit *unit = scale->units;
    while (unit->unit > 1 && top < unit->unit)
        unit++;
    return unit;
}

/* The next round number that is not less: 1, 2, 4, 5 or 8 and zeros, in the unit that it is written in. */
static double round_scale(const struct chart_scale *scale, double value)
{
    static const double steps[] = {1, 2, 4, 5, 8, 10};
    value = value < scale->least ? scale->least : value;
    const struct chart_unit *unit = unit_for(scale, value);
    double power = pow(10, floor(log10(value / unit->unit))) * unit->unit;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (steps[i] * power >= value * 0.9999)
            return steps[i] * power;
    }
    return 10 * power;
}

static void write_scale(struct buffer *out, const struct chart_scale *scale, double top)
{
    const struct chart_unit *unit = unit_for(scale, top);
    for (int i = 0; i <= 2; i++) {
        double y = BOTTOM - (BOTTOM - TOP) * i / 2.0;
        write_format(out, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, RIGHT, y, y);
        write_format(out, "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3g%s</text>", LEFT - 6, y + 4,
                     top * i / 2 / unit->unit, i == 0 ? "" : unit->word);
    }
}

static void write_times(struct buffer *out, const struct chart_window *window)
{
    for (int i = 0; i < 5; i++) {
        const char *anchor = i == 0 ? "start" : i == 4 ? "end" : "middle";
        double x = LEFT + (RIGHT - LEFT) * i / 4.0;
        write_format(out, "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"%s\">%s</text>", x, BOTTOM + 20,
                     anchor, window->label[i]);
    }
}

static void write_series(struct buffer *out, const struct chart_series *series, size_t points, double top)
{
    bool drawing = false;
    write_format(out, "<path class=\"%s\" d=\"", series->style);
    if (series->area)
        write_format(out, "M%d %d", LEFT, BOTTOM);
    for (size_t i = 0; i < points; i++) {
        if (series->value[i] < 0) {
            drawing = false;
            continue;
        }
        double x = LEFT + (double)(RIGHT - LEFT) * (double)i / (double)(points - 1);
        double y = BOTTOM - (BOTTOM - TOP) * series->value[i] / top;
        bool alone = !drawing && !series->area;
        write_format(out, "%s%.1f %.1f%s", alone ? "M" : "L", x, y, alone ? "h.1" : "");
        drawing = true;
    }
    if (series->area)
        write_format(out, "L%d %dZ", RIGHT, BOTTOM);
    buffer_text(out, "\"/>");
}

static void write_legend(struct buffer *out, const char *title, const struct chart_series *series, size_t count)
{
    write_format(out, "<figcaption>%s", title);
    buffer_text(out, count > 1 ? "<span class=\"legends\">" : "<span>");
    for (size_t i = 0; count > 1 && i < count; i++)
        write_format(out, " <span class=\"legend\"><span class=\"key %s\"></span>%s</span>", series[i].style,
                     series[i].name);
    buffer_text(out, "</span></figcaption>");
}

/* Of a value: in the largest unit in which it is at least one. */
static void write_value(struct buffer *out, const struct chart_scale *scale, double value)
{
    if (value < 0) {
        buffer_text(out, "-");
        return;
    }
    const struct chart_unit *unit = unit_for(scale, value);
    write_format(out, "%.3g%s", value / unit->unit, unit->word);
}

/* The same as numbers, for those who do not see the picture: a row for each twelfth of the time, with the highest value
 * of each series in it. */
static void write_numbers(struct buffer *out, const char *title, const struct chart_window *window,
                          const struct chart_scale *scale, const struct chart_series *series, size_t count)
{
    size_t each = window->points / ROWS, minutes = window->minutes / ROWS;
    write_format(out,
                 "<details class=\"numbers\"><summary>Numbers</summary><div tabindex=\"0\" role=\"group\" "
                 "aria-label=\"%s, last %s, as numbers\"><table><thead><tr><th scope=\"col\">Minutes ago</th>",
                 title, window->name);
    for (size_t k = 0; k < count; k++)
        write_format(out, "<th scope=\"col\" class=\"number\">%s, at most</th>", series[k].name);
    buffer_text(out, "</tr></thead><tbody>");
    for (size_t row = ROWS; row-- > 0;) {
        write_format(out, "<tr><th scope=\"row\">%zu to %zu</th>", (ROWS - row) * minutes, (ROWS - 1 - row) * minutes);
        for (size_t k = 0; k < count; k++) {
            double most = NOTHING;
            for (size_t i = row * each; i < (row + 1) * each; i++)
                most = series[k].value[i] > most ? series[k].value[i] : most;
            buffer_text(out, "<td class=\"number\">");
            write_value(out, scale, most);
            buffer_text(out, "</td>");
        }
        buffer_text(out, "</tr>");
    }
    buffer_text(out, "</tbody></table></div></details>");
}

static void write_chart(struct buffer *out, const char *title, const struct chart_window *window,
                        const struct chart_scale *scale, const struct chart_series *series, size_t count)
{
    double most = 0;
    for (size_t k = 0; k < count; k++) {
        for (size_t i = 0; i < window->points; i++)
            most = series[k].value[i] > most ? series[k].value[i] : most;
    }
    double top = round_scale(scale, most);
    buffer_text(out, "<figure>");
    write_legend(out, title, series, count);
    write_format(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s, last %s\">", WIDTH, HEIGHT, title,
                 window->name);
    write_scale(out, scale, top);
    write_times(out, window);
    for (size_t k = 0; k < count; k++)
        write_series(out, &series[k], window->points, top);
    if (most <= 0)
        write_format(out, "<text class=\"none\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">nothing in this time</text>",
                     (LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2);
    buffer_text(out, "</svg>");
    write_numbers(out, title, window, scale, series, count);
    buffer_text(out, "</figure>\n");
}

static void add_minute(struct tally_minute *sum, const struct tally_minute *minute)
{
    sum->accepted += minute->accepted;
    sum->bytes += minute->bytes;
    sum->done += minute->done;
    for (size_t i = 0; i < COUNTED_BUCKETS; i++)
        sum->delay[i] += minute->delay[i];
}

void chart_sum(const struct facts *facts, const char *source, struct tally_minute *out)
{
    memset(out, 0, COUNTED_MINUTES * sizeof *out);
    for (size_t k = 0; k < facts->sources; k++) {
        if (source != NULL && strcmp(source, facts->source[k].name) != 0)
            continue;
        const struct tally_minute *minute = facts->source[k].tally.minute;
        for (size_t i = 0; i < COUNTED_MINUTES; i++) {
            add_minute(&out[i], &minute[i]);
        }
    }
}

static double mean_of(uint64_t sum, uint64_t count)
{
    return count == 0 ? NOTHING : (double)sum / (double)count;
}

/* A window's charts: minutes are put together where it has fewer points. */
static void write_window(struct buffer *out, const struct chart_window *window, const struct tally_minute *minutes)
{
    struct chart_series events[] = {{"accepted", "accepted", true, {0}}, {"delivered", "delivered", false, {0}}};
    struct chart_series delay[] = {{"p50", "p50", false, {0}}, {"p95", "p95", false, {0}}};
    struct chart_series size = {"size", "size", false, {0}};
    size_t each = window->minutes / window->points;
    const struct tally_minute *first = minutes + COUNTED_MINUTES - window->minutes;
    for (size_t i = 0; i < window->points; i++) {
        struct tally_minute sum = {0};
        for (size_t k = 0; k < each; k++) {
            const struct tally_minute *minute = &first[i * each + k];
            add_minute(&sum, minute);
        }
        events[0].value[i] = (double)sum.accepted / (double)each;
        events[1].value[i] = (double)sum.done / (double)each;
        delay[0].value[i] = counters_quantile(sum.delay, 0.5);
        delay[1].value[i] = counters_quantile(sum.delay, 0.95);
        size.value[i] = mean_of(sum.bytes, sum.accepted);
    }
    write_format(out, "<div class=\"charts %s\">\n", window->name);
    write_chart(out, "Events a minute", window, &counts, events, 2);
    write_chart(out, "Delay until delivered", window, &delays, delay, 2);
    write_chart(out, "Size of events, mean", window, &sizes, &size, 1);
    buffer_text(out, "</div>\n");
}

void chart_write_all(struct buffer *out, const struct facts *facts, const char *source)
{
    struct tally_minute *minutes = calloc(COUNTED_MINUTES, sizeof *minutes);
    if (minutes == NULL) {
        out->failed = true;
        return;
    }
    chart_sum(facts, source, minutes);
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++)
        write_window(out, &windows[i], minutes);
    free(minutes);
}
