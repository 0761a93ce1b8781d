"""Figures of a report; the only file that imports matplotlib, which the extra `plot` brings.

A tracker has one style in all figures of a report: eight colours that colour-blind
readers tell apart, and dashes and markers for the rest.
"""

import io
import math
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as AnySequence
from typing import Any, NamedTuple

import numpy as np

from cdjax._errors import InputError
from cdjax.benchmark._grids import number_of
from cdjax.benchmark._metrics import PRESETS
from cdjax.benchmark._report import Report

_COLORS = (  # Okabe and Ito's, its yellow darkened to be legible on white
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#000000",
    "#56B4E9",
    "#E69F00",
    "#9A8B00",
)
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 3)))
_MARKERS = "osD^vPX<>*ph"
_HATCHES = ("", "////", "....", "xxxx")
_INSIDE = 10
"""Trackers up to which the legend lies in the plot, as OTB's does."""

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d5d5d5",
    "grid.linewidth": 0.7,
    "axes.titleweight": "bold",
    "axes.titlesize": 12,
    "legend.fontsize": 8.5,
    "svg.hashsalt": "cdjax",  # the same figure gives the same bytes
    "pdf.fonttype": 42,
}


class Style(NamedTuple):
    """How a tracker looks.

    Attributes:
      color: of its line and marker.
      dash: of its line.
      marker: of its points.
    """

    color: str
    dash: Any
    marker: str


def styles_of(labels: AnySequence[str]) -> dict[str, Style]:
    """Gives each label a style; up to 40 differ in colour or dashes."""
    return {
        label: Style(
            _COLORS[i % len(_COLORS)],
            _DASHES[(i + i // len(_COLORS)) % len(_DASHES)],
            _MARKERS[(i + i // len(_COLORS)) % len(_MARKERS)],
        )
        for i, label in enumerate(labels)
    }


def draw_report(report: Report, *, formats: AnySequence[str]) -> dict[str, dict[str, bytes]]:
    """Draws what the report has figures for.

    Args:
      report: from `make_report`.
      formats: of "png", "svg" and "pdf".

    Returns:
      Name of the plot -> format -> file.

    Raises:
      InputError: where matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            f"plots need matplotlib ({error}); pip install 'cdjax[plot]', or choose a format "
            "without plots (md, csv, json)"
        ) from error
    files: dict[str, dict[str, bytes]] = {}
    with matplotlib.rc_context(_RC):
        for name, draw in _PLOTS.items():
            figure = Figure(layout="constrained")
            if draw(figure, report, styles_of([one.label for one in report.scored])):
                files[name] = {form: _render(figure, form) for form in formats}
    return files


def _render(figure: Any, form: str) -> bytes:
    file = io.BytesIO()
    stamps = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # same figure, same bytes
    figure.savefig(file, format=form, dpi=160, metadata=stamps.get(form))
    return file.getvalue()


def _axes(figure: Any, title: str, xlabel: str, ylabel: str, *, wide: float = 5.7) -> Any:
    """The figure's one plot."""
    figure.set_size_inches(wide, 4.5)
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title)
    return axes


def _legend(axes: Any, count: int, *, inside: str = "best") -> None:
    """A legend in the plot, or beside it where it would cover too much."""
    if count <= _INSIDE:
        axes.legend(loc=inside, framealpha=0.85, handlelength=3.2)
        return
    figure = axes.figure
    figure.set_size_inches(figure.get_figwidth() + 3, figure.get_figheight())
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, handlelength=3.2)


def _lines(
    axes: Any,
    x: Any,
    curves: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    styles: Mapping[str, Style],
) -> None:
    """Draws curves, the first on top."""
    for order, (label, curve) in enumerate(curves.items()):
        style = styles[label]
        axes.plot(
            x,
            curve,
            color=style.color,
            linestyle=style.dash,
            linewidth=2.4 if len(curves) <= _INSIDE else 1.8,
            label=names[label],
            zorder=3 - order / 1000,
        )


def _quoted(figures: Mapping[str, float], *, digits: int = 3) -> dict[str, str]:
    """Legend entries in the OTB look, the highest first."""
    ranked = sorted(figures.items(), key=lambda item: -item[1])
    return {label: f"[{value:.{digits}f}] {label}" for label, value in ranked}


def _draw_success(figure: Any, report: Report, styles: Mapping[str, Style]) -> bool:
    return _draw_ope(
        figure, report, styles, "success", "success_auc", ("Overlap threshold", "Success rate")
    )


def _draw_precision(figure: Any, report: Report, styles: Mapping[str, Style]) -> bool:
    words = ("Centre error threshold, px", "Precision")
    return _draw_ope(figure, report, styles, "precision", "precision_20", words)


def _draw_ope(
    figure: Any,
    report: Report,
    styles: Mapping[str, Style],
    curve: str,
    key: str,
    words: tuple[str, str],
) -> bool:
    """Success or precision plot over the common targets."""
    common = report.common
    scored = [one for one in report.scored if one.values and one.curves]
    if not common or not scored:
        return False
    preset = PRESETS[report.preset]
    x = np.asarray(preset.thresholds if curve == "success" else preset.pixels)
    names = _quoted({one.label: one.mean(key, common) for one in scored})
    by_label = {one.label: one for one in scored}
    kind = report.protocol.upper()
    title = f"{curve.capitalize()} plots of {kind} ({len(common)} targets)"
    axes = _axes(figure, title, *words)
    curves = {label: by_label[label].mean_curve(curve, common) for label in names}
    _lines(axes, x, curves, names, styles)
    axes.set(xlim=(x[0], x[-1]), ylim=(0, 1))
    _legend(axes, len(names), inside="lower left" if curve == "success" else "lower right")
    return True


def _draw_attributes(figure: Any, report: Report, styles: Mapping[str, Style]) -> bool:
    """The lead measure by attribute: a bar a tracker, the best one first."""
    lead, common = report.measures[0], report.common
    scored = [one for one in report.scored if one.values]
    if any(one.by_tag for one in scored):  # VOT's attributes are of frames
        ticks = list(dict.fromkeys(tag for one in scored for tag in one.by_tag))
        figures = {
            one.label: [one.by_tag.get(tag, {}).get(lead.key, math.nan) for tag in ticks]
            for one in scored
        }
        ticks = [tag.replace("_", "\n") for tag in ticks]
        quoted = {one.label: number_of(one.whole[lead.key]) or 0.0 for one in scored}
    else:
        ticks = [f"{tag}\n({len(some)})" for tag, some in report.tags.items()]
        figures = {
            one.label: [one.mean(lead.key, some) for some in report.tags.values()] for one in scored
        }
        quoted = {one.label: one.mean(lead.key, common) for one in scored}
    if len(ticks) < 2 or not scored:
        return False
    title = f"{lead.title} by attribute ({len(common)} targets)"
    axes = _axes(figure, title, "Attribute", lead.title, wide=8.5)
    names = _quoted(quoted)
    width, colors = 0.8 / len(names), []
    for i, (label, name) in enumerate(names.items()):
        places = np.arange(len(ticks)) + (i - (len(names) - 1) / 2) * width
        colors.append(styles[label].color)
        # Where colours run out, hatches go on.
        hatch = _HATCHES[(colors.count(colors[-1]) - 1) % len(_HATCHES)]
        axes.bar(
            places,
            figures[label],
            width,
            color=colors[-1],
            hatch=hatch,
            edgecolor="white",
            linewidth=0,
            label=name,
        )
    axes.set_xticks(range(len(ticks)), ticks)
    _legend(axes, _INSIDE + 1)
    return True


def _points(axes: Any, points: Mapping[str, tuple[Any, Any]], styles: Mapping[str, Style]) -> None:
    """Draws a marker a tracker, with a legend."""
    for label, (x, y) in points.items():
        style = styles[label]
        axes.plot(
            x,
            y,
            linestyle="none",
            marker=style.marker,
            markersize=13 if style.marker == "*" else 9,
            color=style.color,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=label,
        )
    axes.margins(0.12)
    _legend(axes, len(points))


def _draw_speed(figure: Any, report: Report, styles: Mapping[str, Style]) -> bool:
    """Speed against the lead measure."""
    lead = report.measures[0]
    points = {
        one.label: (one.entrant.fps, one.mean(lead.key, report.common))
        for one in report.scored
        if one.entrant.fps and one.values and report.common
    }
    if len(points) < 2:
        return False
    axes = _axes(figure, "Speed and accuracy", "Speed, frames/s (log)", lead.title)
    axes.set_xscale("log")
    ticks, words = _decades([fps for fps, _ in points.values()])
    axes.set_xticks(ticks, words)
    axes.set_xlim(ticks[0] / 1.1, ticks[-1] * 1.1)
    axes.minorticks_off()
    _points(axes, points, styles)
    return True


def _decades(values: Iterable[float]) -> tuple[list[float], list[str]]:
    """Ticks at 1, 2 and 5 of each decade, one beyond the values on either side."""
    values = list(values)
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    ticks = [step * 10.0**power for power in range(low - 1, high + 1) for step in (1, 2, 5)]
    first = max(i for i, tick in enumerate(ticks) if tick <= min(values))
    last = min(i for i, tick in enumerate(ticks) if tick >= max(values))
    shown = ticks[first : max(last, first + 1) + 1]
    return shown, [f"{tick:g}" for tick in shown]


def _draw_channels(figure: Any, report: Report, styles: Mapping[str, Style]) -> bool:
    """Channels kept of each layer, stacked."""
    kept = {
        one.label: one.entrant.channels_by_layer
        for one in report.scored
        if one.entrant.channels_by_layer
    }
    if not kept:
        return False
    axes = _axes(figure, "Channels kept by layer", "Channels, mean over targets", "", wide=8.0)
    figure.set_size_inches(8, 1.6 + 0.36 * len(kept))
    layers = list(dict.fromkeys(layer for some in kept.values() for layer in some))
    left = np.zeros(len(kept))
    hatches = ("", "//", "..", "xx", "\\\\")
    for i, layer in enumerate(layers):
        width = np.array([some.get(layer, 0.0) for some in kept.values()])
        axes.barh(
            list(kept),
            width,
            left=left,
            color=_COLORS[i % len(_COLORS)],
            hatch=hatches[i // len(_COLORS) % len(hatches)],
            edgecolor="white",
            label=layer,
        )
        left += width
    of = {one.label: one.entrant.num_candidates for one in report.scored}
    for row, (label, total) in enumerate(zip(kept, left, strict=True)):
        note = f" {total:.0f} of {of[label]}" if of[label] else f" {total:.0f}"
        axes.text(total, row, note, va="center", fontsize=8.5)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 1.2 * float(left.max()))
    _legend(axes, _INSIDE + 1)
    return True


def _draw_accuracy_robustness(figure: Any, report: Report, styles: Mapping[str, Style]) -> bool:
    """VOT's plot: the chance of tracking 30 frames without failure against accuracy."""
    points = {
        one.label: (number_of(one.whole["reliability"]), number_of(one.whole["accuracy"]))
        for one in report.scored
        if "reliability" in one.whole
    }
    if not points:
        return False
    words = ("Robustness: exp(-30 failures / frames)", "Accuracy")
    axes = _axes(figure, "Accuracy and robustness", *words)
    _points(axes, points, styles)
    return True


def _draw_eao(figure: Any, report: Report, styles: Mapping[str, Style]) -> bool:
    """Expected average overlap against length, and the interval whose mean is the EAO."""
    curves = {one.label: one.eao_curve for one in report.scored if one.eao_curve is not None}
    if not curves:
        return False
    axes = _axes(figure, "Expected average overlap", "Frames after a start", "Mean overlap")
    names = _quoted(
        {
            one.label: number_of(one.whole["eao"]) or 0.0
            for one in report.scored
            if one.label in curves
        }
    )
    for label in names:
        curve = curves[label][1:]  # the start itself has no overlap
        _lines(axes, np.arange(1, len(curve) + 1), {label: curve}, names, styles)
    if report.eao_interval is not None:
        axes.axvspan(*report.eao_interval, color="#eeeeee", zorder=0)
    axes.set_ylim(0, 1)
    axes.set_xlim(left=0)
    _legend(axes, len(names), inside="upper right")
    return True


_PLOTS = {
    "success": _draw_success,
    "precision": _draw_precision,
    "attributes": _draw_attributes,
    "speed_accuracy": _draw_speed,
    "channels": _draw_channels,
    "accuracy_robustness": _draw_accuracy_robustness,
    "eao": _draw_eao,
}
